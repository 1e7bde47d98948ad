"""Which grain a pixel belongs to: label images, in an array or in a file beside the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs.micrographs._map import Map

_ENDING = "_grains"
_KINDS = (".npy", ".png", ".tif", ".tiff")


def labels_of(array: NDArray[np.generic], shape: tuple[int, ...]) -> Tensor:
    """(H, W) int32 grains; negative is none.

    Raises:
        NearfarError: Another shape than the image's, or no whole numbers.
    """
    if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
        raise NearfarError(
            f"grain is a {array.dtype} array of shape {array.shape}; wanted whole numbers of the "
            f"image's shape {shape}."
        )
    return torch.from_numpy(array.astype(np.int32))


def picture_of(file: Path) -> Path | None:
    """The picture whose grains a file holds, or None."""
    if not file.stem.endswith(_ENDING) or file.suffix.lower() not in _KINDS:
        return None
    stem = file.stem.removesuffix(_ENDING)
    return next((one for one in sorted(file.parent.glob(f"{stem}.*")) if one.stem == stem), None)


def grains_of(file: Path) -> Path | None:
    """The file beside a picture that holds its grains, or None."""
    beside = [file.with_name(f"{file.stem}{_ENDING}{kind}") for kind in _KINDS]
    return next((one for one in beside if one.is_file()), None)


def with_grains(file: Path, maps: list[Map], *, shape: bool) -> list[Map]:
    """Maps with the grains of ``NAME_grains.tif`` (or .png, .npy) beside ``NAME.tif``, if any.

    In such a file, as label images are usually stored, 0 is no grain.

    Args:
        file: The picture's file.
        maps: Its pages; the label image has as many.
        shape: Look at the outlines of grains in place of the pixels.

    Raises:
        NearfarError: Labels that do not fit the picture; or none, and ``shape`` needs them.
    """
    found = grains_of(file)
    if found is None:
        if shape:
            raise NearfarError(
                f"{file} has no grains, and channel='shape' needs them. Wanted a label image "
                f"beside it ({file.stem}{_ENDING}.tif, .png or .npy), or an .npz with 'image' and "
                "'grain'."
            )
        return maps
    pages = _pages(found)
    if len(pages) != len(maps):
        raise NearfarError(f"{found} has {len(pages)} page(s); wanted {len(maps)}, as {file.name}.")
    out = []
    for one, page in zip(maps, pages, strict=True):
        try:
            grains = labels_of(page, one.side)
        except NearfarError as error:
            raise NearfarError(f"{found}: {error}") from error
        grains = torch.where(grains == 0, -1, grains)
        out.append(replace(one, grains=grains, pixels=grains[None] if shape else one.pixels))
    return out


def _pages(file: Path) -> list[NDArray[np.generic]]:
    if file.suffix.lower() == ".npy":
        array = np.load(file, allow_pickle=False)
        return list(array) if array.ndim == 3 else [array]
    if file.suffix.lower() == ".png":
        from PIL import Image

        with Image.open(file) as picture:
            return [np.asarray(picture)]
    from tifffile import TiffFile

    with TiffFile(file) as tiff:
        return [page.asarray() for page in tiff.pages]
