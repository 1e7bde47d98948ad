"""From what a user has (a path, an array) to what an encoder takes."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nearfar.errors import NearfarError

# The usual channel statistics; pretrained vision models expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Reader(ABC):
    """Turns inputs into tensors; rebuilt with a model from its ``settings``."""

    settings: dict[str, Any]

    @abstractmethod
    def read(self, inputs: Sequence[Any]) -> Tensor:
        """Inputs to a batch in memory."""

    @abstractmethod
    def prepare(self, batch: Tensor) -> Tensor:
        """A batch in memory to the encoder's input, on the batch's device."""

    @abstractmethod
    def raw(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """(N, d) features without any encoder: the baseline that every evaluation prints."""

    def pictures(self, inputs: Sequence[Any]) -> Tensor | None:
        """(N, H, W, 3) uint8, how inputs look to a person; None where they have no look."""
        return None


class ImageReader(Reader):
    """Pictures: paths, Pillow images or (H, W), (H, W, 1 to 4) arrays of uint8 or floats in 0..1.

    The shorter side is scaled to ``size`` and the middle square is taken.

    Args:
        size: Side in pixels of what the encoder sees.

    Example:
        >>> ImageReader(size=8).read([np.zeros((20, 30), dtype=np.uint8)]).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(self, size: int = 32) -> None:
        if size < 8:
            raise NearfarError(f"size={size} is too small a picture to encode; wanted 8 or more.")
        self.size = size
        self.settings = {"size": size}

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, 3, size, size) uint8.

        Raises:
            NearfarError: An input that is no picture; it names the input.
        """
        if not len(inputs):
            return torch.empty((0, 3, self.size, self.size), dtype=torch.uint8)
        with quietly():
            return torch.stack([self.read_one(item, self.size) for item in inputs])

    def read_one(self, item: Any, side: int) -> Tensor:
        """(3, side, side) uint8 of one picture."""
        from PIL import Image, ImageOps

        try:
            with _opened(item, side) as picture:
                picture = ImageOps.exif_transpose(_eight_bit(picture)).convert("RGB")
            square = ImageOps.fit(picture, (side, side), Image.Resampling.BICUBIC)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            name = "an array" if _is_array(item) else str(item)
            raise NearfarError(f"{name} cannot be read as a picture: {error}") from error
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()

    def prepare(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W), uint8 or floats in 0..1, to normalised floats, channels last."""
        x = batch.float() / 255 if batch.dtype == torch.uint8 else batch
        mean, std = x.new_tensor(_MEAN).view(3, 1, 1), x.new_tensor(_STD).view(3, 1, 1)
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)

    def raw(self, inputs: Sequence[Any]) -> NDArray[np.float32]:
        """The picture's pixels, at most 16 x 16 of them, (N, 768)."""
        x = self.read(inputs).float() / 255
        small: NDArray[np.float32] = functional.adaptive_avg_pool2d(x, min(16, self.size)).numpy()
        return small.reshape(len(small), -1)

    def pictures(self, inputs: Sequence[Any]) -> Tensor:
        """(N, size, size, 3) uint8: what the encoder sees."""
        return self.read(inputs).permute(0, 2, 3, 1)


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
