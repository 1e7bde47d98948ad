"""What judges pixels, as it lies on disk: masks, point tracks, known flow."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs._walk import printable
from nearfar.pairs.pixels._flow import Field, Points
from nearfar.pairs.pixels._videos import PICTURES, decoded

# BADJA's joints are places in DAVIS' full resolution, and in its extra videos' own.
_FULL = (1080, 1920)
_JOINTS = (8, 9, 10, 12, 13, 14, 15, 18, 19, 20, 22, 23, 24, 25, 28, 31, 32, 33, 35, 36)


@dataclass(frozen=True)
class Marks:
    """Where points are, as far as anybody marked them.

    Attributes:
        points: (N, T, 2) x and y, NaN where not marked.
        size: (height, width) that the numbers refer to; None for the frames' own.
        stems: Names of the T frames' files without their endings; None for the first T frames.
    """

    points: Points
    size: tuple[int, int] | None = None
    stems: list[str] | None = None


@dataclass(frozen=True)
class KnownFlow:
    """Two pictures and the displacement of each pixel.

    Attributes:
        name: Of the file.
        first: File of the first picture.
        second: File of the second.
        flow: (H, W, 2) x and y in pixels.
        valid: (H, W) where it is known.
    """

    name: str
    first: Path
    second: Path
    flow: Field
    valid: NDArray[np.bool_]


def mask_files(frames: Path) -> dict[str, Path]:
    """Masks of a folder of frames by the frame's stem: ``frames/dog`` has ``masks/dog``.

    DAVIS' own ``JPEGImages/480p/dog`` has ``Annotations/480p/dog``.
    """
    pairs = {"frames": "masks", "JPEGImages": "Annotations"}
    parts = list(frames.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place] in pairs:
            folder = Path(*parts[:place], pairs[parts[place]], *parts[place + 1 :])
            if folder.is_dir():
                return {file.stem: file for file in sorted(folder.glob("*.png"))}
    return {}


def read_mask(file: Path, shape: tuple[int, int]) -> NDArray[np.int64]:
    """(H, W) integers, 0 the ground and 1..K the objects in the order of their values.

    Raises:
        NearfarError: It cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(file) as picture:
            nearest = Image.Resampling.NEAREST
            kind = picture if picture.mode in ("P", "L", "1") else picture.convert("L")
            values = np.asarray(kind.resize(shape[::-1], nearest)).astype(np.int64)
    except (OSError, ValueError) as error:
        raise NearfarError(f"{file} cannot be read as a mask: {error}") from error
    return values


def find_tracks(root: Path) -> tuple[dict[str, Marks], dict[str, str]]:
    """Point tracks below a folder by the name of their file, which is their clip's.

    Either BADJA's JSON, or a CSV with the columns point, frame, x, y and, if it likes, visible, as
    ``nearfar track`` writes them; x and y are pixels of the frames.

    Returns:
        Tracks, and files that could not be read, each with the reason.
    """
    found: dict[str, Marks] = {}
    skipped: dict[str, str] = {}
    for file in _files(root, (".json", ".csv")):
        try:
            if file.suffix == ".csv":
                found[file.stem] = _read_csv(file)
            elif file.name != "sequences.json":
                found[file.stem] = _read_badja(file)
        except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
            name = printable(file)
            skipped[name] = f"{name} holds no point tracks: {error!r}"
    return found, skipped


def find_flows(root: Path) -> tuple[list[KnownFlow], dict[str, str]]:
    """Known flows below a folder: .flo (Middlebury), or KITTI's 16-bit PNG named *flow*.png.

    Its pictures are the first two beside it, by name, whose names begin most like the flow's.

    Returns:
        Flows, and files that could not be read, each with the reason.
    """
    found, skipped = [], {}
    for file in _files(root, (".flo", ".png")):
        if file.suffix == ".png" and "flow" not in file.stem:
            continue
        try:
            flow, valid = _read_flo(file) if file.suffix == ".flo" else _read_kitti(file)
            first, second = _pictures_of(file)
        except (ValueError, OSError) as error:
            name = printable(file)
            skipped[name] = f"{name} is no known flow of two pictures: {error}"
            continue
        found.append(KnownFlow(printable(file.stem), first, second, flow, valid))
    return found, skipped


def _files(root: Path, endings: Sequence[str]) -> list[Path]:
    if root.is_file():
        return []
    return sorted(
        Path(folder, name)
        for folder, _, files in os.walk(root, followlinks=True)
        for name in files
        if name.lower().endswith(tuple(endings))
    )


def _read_badja(file: Path) -> Marks:
    entries = json.loads(file.read_text())
    points = np.full((len(_JOINTS), len(entries), 2), np.nan, np.float32)
    for column, entry in enumerate(entries):
        for row, joint in enumerate(_JOINTS):
            if entry["visibility"][joint]:
                points[row, column] = entry["joints"][joint][::-1]  # They are (row, column).
    seen = ~np.isnan(points).all((1, 2))
    paths = [Path(entry["image_path"]) for entry in entries]
    size = None if paths[0].parts[0] == "extra_videos" else _FULL
    return Marks(points[seen], size, [path.stem for path in paths])


def _read_csv(file: Path) -> Marks:
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    names = list(dict.fromkeys(row["point"] for row in rows))
    points = np.full(
        (len(names), max(int(row["frame"]) for row in rows) + 1, 2), np.nan, np.float32
    )
    for row in rows:
        if row.get("visible", "1") not in ("0", "False", "false"):
            points[names.index(row["point"]), int(row["frame"])] = float(row["x"]), float(row["y"])
    return Marks(points)


def _read_flo(file: Path) -> tuple[Field, NDArray[np.bool_]]:
    raw = file.read_bytes()
    if raw[:4] != b"PIEH":
        raise ValueError("it does not begin with PIEH")
    width, height = np.frombuffer(raw, np.int32, 2, 4)
    flow = np.frombuffer(raw, np.float32, 2 * width * height, 12).reshape(height, width, 2)
    return flow, np.asarray((np.abs(flow) < 1e9).all(2))


def _read_kitti(file: Path) -> tuple[Field, NDArray[np.bool_]]:
    import cv2

    values = decoded(file, cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError("it is no PNG of three channels of 16 bits")
    flow = (values[..., :0:-1].astype(np.float32) - np.float32(2**15)) / np.float32(64)
    return np.asarray(flow, np.float32), values[..., 0] > 0


def _pictures_of(file: Path) -> tuple[Path, Path]:
    alike: dict[int, list[Path]] = {}
    for other in sorted(file.parent.iterdir()):
        if other.suffix.lower() in PICTURES and other != file and "flow" not in other.stem:
            alike.setdefault(_shared(other.stem, file.stem), []).append(other)
    best = alike.get(max(alike, default=0), [])
    if len(best) < 2 or max(alike) == 0:
        raise ValueError("there are no two pictures beside it whose names begin like its own")
    return best[0], best[1]


def _shared(a: str, b: str) -> int:
    """How many letters two names begin with alike."""
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
