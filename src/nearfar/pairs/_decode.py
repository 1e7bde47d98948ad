"""Picture files and arrays to uint8 pixels, by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._walk import printable


def read_picture(item: Any, side: int) -> Tensor:
    """(3, side, side) uint8: the shorter side scaled to ``side``, the middle square taken.

    Args:
        item: A path, a Pillow image or an array.
        side: In pixels.

    Raises:
        NearfarError: It is no picture; the message names it.
    """
    from PIL import Image, ImageOps

    try:
        with _opened(item, side) as picture:
            picture = ImageOps.exif_transpose(_eight_bit(picture)).convert("RGB")
        square = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = "an array" if _is_array(item) else printable(str(item))
        raise NearfarError(f"{name} cannot be read as a picture: {error}") from error
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


@contextmanager
def quietly() -> Iterator[None]:
    """Pillow's remarks on odd files held back: what cannot be read is reported as an error.

    Entered around the reading threads, never in them: warning filters belong to the process.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(item: Any, side: int) -> AbstractContextManager[Any]:
    """A picture, closed after use if it was opened here; a caller's own stays open."""
    from PIL import Image

    if _is_array(item):
        return nullcontext(_array_picture(item))
    if isinstance(item, Image.Image):
        return nullcontext(item)
    picture = Image.open(Path(item))
    # Lets the JPEG decoder scale down while decoding: much faster on photographs.
    picture.draft("RGB", (2 * side, 2 * side))
    return picture


def _is_array(item: Any) -> bool:
    return isinstance(item, np.ndarray | Tensor)


def _array_picture(item: Any) -> Any:
    from PIL import Image

    array = np.asarray(item)
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ValueError(f"its shape is {array.shape}; wanted (H, W), (H, W, 1), (H, W, 3 or 4)")
    if array.dtype != np.uint8:
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ValueError(f"{array.dtype} pixels must be finite and lie in 0..1")
        array = (array * 255).round().astype(np.uint8)
    return Image.fromarray(array.squeeze(2) if array.ndim == 3 and array.shape[2] == 1 else array)


def _eight_bit(picture: Any) -> Any:
    """Sixteen-bit greys (microscopes, scanners) keep their range; Pillow alone would clip them."""
    from PIL import Image

    if not picture.mode.startswith(("I", "F")):
        return picture
    grey = np.asarray(picture, dtype=np.float64)
    top = 65535.0 if picture.mode.startswith("I") else max(float(grey.max()), 1e-12)
    return Image.fromarray((grey.clip(0, top) / top * 255).round().astype(np.uint8))
