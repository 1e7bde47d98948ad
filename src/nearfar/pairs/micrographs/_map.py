"""One micrograph in memory: its pixels, its grains, its scale."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError


@dataclass(frozen=True)
class Map:
    """A micrograph, or a map measured point by point.

    Attributes:
        name: What a person calls it.
        pixels: (C, H, W) float16 in 0..1, C one or three; half precision keeps 8 bits exactly and
            11 of 16. For a map that is looked at as shapes: (1, H, W) int32, the grains.
        grains: (H, W) int32, which grain each pixel belongs to, negative for none; or None.
        um_per_pixel: Micrometres a pixel, None where the file does not say.
        kinds: Grain to a word for it (its phase), for evaluation only.
    """

    name: str
    pixels: Tensor
    grains: Tensor | None = None
    um_per_pixel: float | None = None
    kinds: dict[int, str] = field(default_factory=dict)

    @property
    def side(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @cached_property
    def key(self) -> str:
        """Equal for maps that hold the same, whatever they are called."""
        content = hashlib.blake2b(repr(self.pixels.shape).encode(), digest_size=8)
        for part in (self.pixels, self.grains):
            content.update(b"" if part is None else part.numpy().tobytes())
        return content.hexdigest()


def to_pixels(array: NDArray[np.generic], channels: int | None = None) -> Tensor:
    """An image array to (C, H, W) float16 in 0..1.

    Eight bits keep their values. Sixteen bits and floats are stretched between their 0.1 and 99.9
    percentiles: microscopes put 10, 12 or 14 bits into 16.

    Args:
        array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); the fourth channel is left out.
        channels: 1 or 3 to have that many; None for one where all three are equal.

    Raises:
        NearfarError: Another shape, or values that are not finite.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4) or 0 in array.shape:
        raise NearfarError(
            f"an image of shape {array.shape}; wanted (H, W), (H, W, 3) or (H, W, 4)."
        )
    # Grey with opacity has two channels, colour with opacity four.
    array = array[..., : {1: 1, 2: 1, 3: 3, 4: 3}[array.shape[2]]]
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise NearfarError("pixels that are not finite numbers; wanted finite ones.")
    if array.dtype == np.uint8:
        values /= 255
    else:
        low, high = np.percentile(values, (0.1, 99.9))
        values = ((values - low) / max(high - low, 1e-12)).clip(0, 1)
    if values.shape[2] == 3 and (values == values[..., :1]).all():
        values = values[..., :1]
    out = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))
    return with_channels(out, channels or len(out)).half()


def with_channels(pixels: Tensor, channels: int) -> Tensor:
    """(C, H, W) to (``channels``, H, W): grey repeated, or the mean of the colours."""
    if len(pixels) == channels:
        return pixels
    if channels == 1:
        return pixels.float().mean(0, keepdim=True).to(pixels.dtype)
    return pixels.expand(channels, -1, -1)
