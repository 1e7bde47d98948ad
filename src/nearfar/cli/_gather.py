"""The pictures of a folder as a model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.model import Model
from nearfar.pairs import ImageFolder, ImageReader


@dataclass(frozen=True)
class Found:
    """Readable pictures.

    Attributes:
        names: Paths relative to the folder.
        pixels: (H, W, 3) uint8 each.
        labels: First-level sub-folder of each, or None.
        skipped: What could not be read, and why.
    """

    names: list[str]
    pixels: Sequence[NDArray[np.uint8]]
    labels: list[str] | None
    skipped: dict[str, str]


def readable(model: Model, path: str) -> Found:
    """Read a folder for a model of pictures.

    Raises:
        NearfarError: The model does not read pictures, or there are none.
    """
    if not isinstance(model.reader, ImageReader):
        raise NearfarError(f"This model reads {type(model.reader).__name__} inputs, not pictures.")
    folder = ImageFolder(path, model.reader.size, detail=1)
    pixels = list(folder.pixels.permute(0, 2, 3, 1).numpy())
    return Found(folder.names, pixels, folder.labels, folder.skipped)
