"""Features of sounds and pictures that nobody has to learn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nearfar.probes import Vectors

if TYPE_CHECKING:
    from nearfar.pairs.audio_image._reader import SenseReader


def numbers(reader: SenseReader, inputs: Sequence[Any]) -> Vectors:
    """(N, 96) numbers of clips, or of pictures; what each number means differs.

    Of a clip: mean and deviation over time of 32 bands, and the mean size of their changes. Of a
    picture: the mean colour of 4 x 4 fields, and how strong edges of three directions are there.

    Args:
        reader: Reads them.
        inputs: Clips, pictures, or both.
    """
    out = np.empty((len(inputs), 96), np.float32)
    for start in range(0, len(inputs), 256):
        batch = reader.read(inputs[start : start + 256])
        if isinstance(batch, Tensor):
            out[start : start + 256] = (_heard if batch.ndim == 2 else _seen)(batch).numpy()
        else:
            waves, pixels = batch.parts
            every = torch.cat([_heard(waves), _seen(pixels)])
            out[start : start + 256] = every[batch.order].numpy()
    return out


def look(reader: SenseReader, inputs: Sequence[Any]) -> Tensor:
    """(N, size, size, 3) uint8: pictures as they are, clips as their bands over time."""
    batch, side = reader.read(inputs), reader.settings["size"]
    if isinstance(batch, Tensor) and batch.ndim == 4:
        return batch.permute(0, 2, 3, 1)
    waves = batch if isinstance(batch, Tensor) else batch.parts[0]
    bands = functional.interpolate(_bands(waves, 64)[:, None], (side, side), mode="bilinear")
    low, high = bands.amin((1, 2, 3), keepdim=True), bands.amax((1, 2, 3), keepdim=True)
    grey = (255 * (bands - low) / (high - low).clamp_min(1e-6)).round().to(torch.uint8)
    drawn = grey.flip(2).expand(-1, 3, -1, -1)
    every = drawn if isinstance(batch, Tensor) else torch.cat([drawn, batch.parts[1]])[batch.order]
    return every.permute(0, 2, 3, 1)


def _bands(waves: Tensor, count: int) -> Tensor:
    """(N, count, T) logarithms of the energy in bands, each an equal ratio of frequencies wide."""
    spectrum = torch.stft(
        waves, 512, 256, window=torch.hann_window(512), return_complex=True, pad_mode="constant"
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    edges = torch.from_numpy(np.geomspace(4, 257, count + 1)).round().long()
    parts = [power[:, low : max(int(high), int(low) + 1)].mean(1) for low, high in pairwise(edges)]
    energy = torch.stack(parts, 1)
    top = energy.amax((1, 2), keepdim=True).clamp_min(1e-12)
    return (energy / top).clamp_min(1e-8).log()


def _heard(waves: Tensor) -> Tensor:
    bands = _bands(waves, 32)
    return torch.cat([bands.mean(2), bands.std(2), bands.diff(dim=2).abs().mean(2)], 1)


def _seen(pixels: Tensor) -> Tensor:
    x = pixels.float() / 255
    colour = functional.adaptive_avg_pool2d(x, 4)
    grey = x.mean(1, keepdim=True)
    right, down = grey.diff(dim=3)[:, :, 1:], grey.diff(dim=2)[..., 1:]
    edges = torch.cat([right.abs(), down.abs(), (right * down).abs().sqrt()], 1)
    return torch.cat([colour, functional.adaptive_avg_pool2d(edges, 4)], 1).flatten(1)
