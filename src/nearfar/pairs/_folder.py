"""A folder of pictures, read once into memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._decode import quietly, read_picture
from nearfar.pairs._labels import folder_labels
from nearfar.pairs._walk import but, printable, walk
from nearfar.progress import tracked

_SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
# Pictures that are not read; each is named, so that nobody misses them unknowingly.
_OTHERS = re.compile(
    r"\.(arw|avif|cr[23]|dng|hei[cf]|jfif|jp2|jpe|jxl|nef|orf|pef|p[gp]m|psd|raf|rw2|srw|svg|tga)$",
    re.IGNORECASE,
)


def find_images(path: str | Path) -> tuple[list[Path], dict[str, str]]:
    """Every picture file below a folder, sorted; a file stands for itself.

    Returns:
        The files, and what was left out, each with the reason: folders that cannot be entered,
        pictures in other formats.

    Raises:
        NearfarError: Nothing is there, or no file has a picture's ending.
    """
    root = Path(path)
    if root.is_file():
        return [root], {}
    if not root.is_dir():
        raise NearfarError(
            f"path={str(path)!r}: there is no such folder. Wanted a folder of pictures."
        )
    skipped: dict[str, str] = {}
    files = []
    for file in walk(root, lambda name: _is_picture(name) or _OTHERS.search(name), skipped):
        if _is_picture(file.name):
            files.append(file)
        else:
            name = _name(file, root)
            skipped[name] = f"{name}: {file.suffix} is not read; save it as JPEG or PNG."
    if not files:
        raise NearfarError(
            f"path={str(path)!r}: no pictures in this folder or below it{but(skipped)}. Wanted "
            f"files that end in {', '.join(sorted(_SUFFIXES))}."
        )
    return files, skipped


class ImageFolder:
    """Readable pictures of a folder, decoded once; unreadable ones are skipped and named.

    Args:
        path: A folder; sub-folders are searched too.
        size: Side of what the encoder will see; None takes the pictures' own, between 32 and 64.
        detail: Keep up to this many times ``size``, so that random crops stay sharp.

    Attributes:
        files: The pictures that could be read.
        pixels: (N, 3, S, S) uint8; S is ``size``, or more where the pictures have it.
        labels: Name of the first-level sub-folder of each, or None; see `folder_labels`.
        remarks: Why there are no labels, where there nearly were.
        skipped: What could not be read or entered, each with the reason.
        size: In pixels, chosen where it was None.

    Raises:
        NearfarError: No folder, no pictures, or not one that can be read.
    """

    def __init__(self, path: str | Path, size: int | None = None, *, detail: int = 2) -> None:
        root = Path(path)
        found, left_out = find_images(path)
        side = _shorter_side(found)
        self.size = size or min(64, max(32, side // 8 * 8))
        stored = min(detail * self.size, max(self.size, side))
        self.skipped: dict[str, str] = {}
        self.files: list[Path] = []
        pixels: list[Tensor] = []
        for file, outcome in zip(found, _read(found, stored), strict=True):
            if isinstance(outcome, NearfarError):
                self.skipped[_name(file, root)] = str(outcome)
            else:
                self.files.append(file)
                pixels.append(outcome)
        if not pixels:
            raise NearfarError(
                f"path={str(path)!r}: none of its {len(found)} picture files can be read; the "
                f"first: {next(iter(self.skipped.values()))}"
            )
        self.skipped |= left_out
        self.pixels = torch.stack(pixels)
        self.names = [_name(file, root) for file in self.files]
        self.labels, self.remarks = folder_labels(self.names)

    @property
    def ids(self) -> Tensor:
        """(N,) equal for pictures whose pixels are the same: they are never negatives."""
        seen: dict[bytes, int] = {}
        keys = [hashlib.blake2b(picture.numpy().tobytes()).digest() for picture in self.pixels]
        return torch.tensor([seen.setdefault(key, len(seen)) for key in keys])


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in _SUFFIXES


def _name(file: Path, root: Path) -> str:
    return printable(file.relative_to(root) if file != root else file)


def _shorter_side(files: Sequence[Path], sample: int = 200) -> int:
    from PIL import Image

    sides = []
    for file in files[:: max(1, len(files) // sample)]:
        try:
            with Image.open(file) as picture:
                sides.append(min(picture.size))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    return int(median(sides)) if sides else 32


def _read(files: Sequence[Path], side: int) -> list[Tensor | NearfarError]:
    def read(file: Path) -> Tensor | NearfarError:
        try:
            return read_picture(file, side)
        except NearfarError as error:
            return error

    # Pillow lets go of the interpreter lock while it decodes.
    with quietly(), ThreadPoolExecutor() as pool:
        outcomes = pool.map(read, files)
        return list(tracked(outcomes, "Reading pictures", len(files)))
