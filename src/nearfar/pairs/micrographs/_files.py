"""Micrographs on disk: maps with grains, multi-page TIFF, PNG and JPEG, EBSD files."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean
from nearfar.pairs._walk import but, printable, walk
from nearfar.pairs.micrographs._ebsd import read_ebsd
from nearfar.pairs.micrographs._labels import labels_of, picture_of, with_grains
from nearfar.pairs.micrographs._map import Map, to_pixels
from nearfar.pairs.micrographs._tiff import read_tiff

SHAPE = "shape"
_PICTURES = frozenset([".bmp", ".jpeg", ".jpg", ".png"])
_TIFF = frozenset([".tif", ".tiff"])
_EBSD = frozenset([".ang", ".ctf", ".h5", ".hdf5"])
SUFFIXES = frozenset([".npz", *_PICTURES, *_TIFF, *_EBSD])


def find_files(path: str | Path) -> tuple[list[Path], dict[str, str]]:
    """Every micrograph below a folder, sorted; a file stands for itself.

    A picture whose name is that of another one and ``_mask`` is no micrograph, and is skipped;
    ``_grains`` is read with its picture.

    Raises:
        NearfarError: Nothing is there, or no file has a known ending.
    """
    root = Path(path)
    if root.is_file():
        return [root], {}
    if not root.is_dir():
        raise NearfarError(
            f"path={str(path)!r}: there is no such file or folder. Wanted a folder of micrographs, "
            "or a map with its grains (.npz)."
        )
    skipped: dict[str, str] = {}
    below = walk(root, lambda name: Path(name).suffix.lower() in SUFFIXES, skipped)
    found = [file for file in below if picture_of(file) is None]
    names = {file.with_suffix("") for file in found}
    masks = {
        file
        for file in found
        if file.stem.endswith("_mask") and file.with_name(file.stem[: -len("_mask")]) in names
    }
    for file in sorted(masks):
        name = printable(file.relative_to(root))
        skipped[name] = f"{name} is the mask of another picture."
    found = [file for file in found if file not in masks]
    if not found:
        raise NearfarError(
            f"path={str(path)!r}: no micrographs in this folder or below it{but(skipped)}. Wanted "
            f"files that end in {', '.join(sorted(SUFFIXES))}."
        )
    return found, skipped


def read_file(file: str | Path, channel: str | None = None) -> list[Map]:
    """The maps of one file; a multi-page TIFF holds several.

    Args:
        file: Any of `SUFFIXES`.
        channel: Which image of a file that holds several; ``shape`` for the outline of the grain
            alone; None for ``image`` or ``quality``. Plain pictures have one image only.

    Raises:
        NearfarError: The file cannot be read, or has no such channel; it is named.
    """
    file = Path(file)
    ending = file.suffix.lower()
    readers: list[tuple[frozenset[str], Callable[[Path, str | None], list[Map]]]] = [
        (frozenset([".npz"]), _read_npz),
        (_EBSD, read_ebsd),
        (_TIFF, _plain(read_tiff)),
        (_PICTURES, _plain(_read_picture)),
    ]
    reader = next((read for endings, read in readers if ending in endings), None)
    if reader is None:
        raise NearfarError(
            f"{file} ends in {ending!r}; wanted one of {', '.join(sorted(SUFFIXES))}."
        )
    try:
        maps = reader(file, channel)
    except ImportError as error:
        raise NearfarError(f"{file} cannot be read: {error}") from error
    except (OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile, EOFError) as error:
        name = "" if str(file) in str(error) else f"{file} cannot be read: "
        raise NearfarError(f"{name}{error}") from error
    for one in maps:
        if min(one.side) < 16:
            raise NearfarError(f"{one.name} has {one.side} pixels; wanted 16 or more a side.")
    return maps


def choose(arrays: dict[str, NDArray[np.generic]], channel: str | None) -> NDArray[np.generic]:
    """The image that a user means.

    Raises:
        NearfarError: There is none of that name; the message lists those that are there.
    """
    wanted = [channel] if channel else ["image", "quality"]
    name = next((name for name in wanted if name in arrays), None)
    if name is None:
        near = did_you_mean(channel, [*arrays, SHAPE]) if channel else ""
        raise NearfarError(
            f"channel={channel!r}: no such image; wanted one of {', '.join(sorted(arrays))} or "
            f"{SHAPE}.{near}"
        )
    return arrays[name]


def _read_npz(file: Path, channel: str | None) -> list[Map]:
    # numpy leaves a broken archive open if it opens the file itself.
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    grain = arrays.pop("grain", None)
    images = {n: a for n, a in arrays.items() if a.ndim >= 2 and min(a.shape[:2]) >= 16}
    if channel == SHAPE:
        if grain is None:
            raise NearfarError(
                f"{file} has no array named 'grain', and channel='{SHAPE}' needs it."
            )
        grains: Tensor | None = labels_of(grain, grain.shape[:2])
        pixels = labels_of(grain, grain.shape[:2])[None]
    else:
        image = choose(images, channel)
        pixels = to_pixels(image)
        grains = None if grain is None else labels_of(grain, image.shape[:2])
    step = arrays.get("step_um")
    names, phase = arrays.get("phase_names"), arrays.get("grain_phase")
    kinds: dict[int, str] = {}
    if names is not None and phase is not None and len(set(phase.tolist())) > 1:
        kinds = {number: str(names[kind]) for number, kind in enumerate(phase.tolist())}
    return [Map(file.name, pixels, grains, None if step is None else float(step), kinds)]


def _read_picture(file: Path) -> list[Map]:
    from PIL import Image, ImageOps

    with Image.open(file) as opened:
        picture: Image.Image = ImageOps.exif_transpose(opened)
        if picture.mode in ("P", "CMYK", "YCbCr", "LAB", "HSV", "1"):
            picture = picture.convert("RGB")
        return [Map(file.name, to_pixels(np.asarray(picture)))]


def _plain(read: Callable[[Path], list[Map]]) -> Callable[[Path, str | None], list[Map]]:
    """A reader of files that hold nothing but pixels; grains may lie in a file beside."""

    def checked(file: Path, channel: str | None) -> list[Map]:
        if channel not in (None, "image", SHAPE):
            raise NearfarError(
                f"channel={channel!r}: {file} is a picture and has one image; wanted a map (.npz) "
                "with several, or leave the channel out."
            )
        return with_grains(file, read(file), shape=channel == SHAPE)

    return checked
