"""Features of a place without any training: its colour, the patch around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nearfar.pairs.pixels._spots import Look
from nearfar.probes import Embed, Vectors

Read = Callable[[Sequence[Any]], Look]


def raw_features(read: Read) -> dict[str, Embed]:
    """Opponents of every learned feature, by name.

    Args:
        read: Inputs to parts, as the reader reads them.
    """
    return {
        "raw patches": _embed(read, lambda x: _lifted(_patches(_lab(x), 5, 1) / 25**0.5)),
        "normalised cross-correlation": _embed(read, lambda x: _centred(_patches(_grey(x), 7, 2))),
        "raw RGB": _embed(read, lambda x: _lifted(x - 0.5)),
    }


def _embed(read: Read, features: Callable[[Tensor], Tensor]) -> Embed:
    def embed(inputs: Sequence[Any]) -> Vectors:
        out = []
        for pictures, owner, places in read(inputs):
            cells = features(pictures)
            if places is None:
                out.append(cells.mean((2, 3))[owner])
                continue
            # A window of one picture: places are read where they are, to the pixel.
            x, y = places.round().long().unbind(1)
            height, width = cells.shape[2:]
            out.append(cells[owner, :, y.clamp(0, height - 1), x.clamp(0, width - 1)])
        found: NDArray[np.float32] = torch.cat(out).float().numpy()
        return found

    return embed


def _patches(x: Tensor, count: int, apart: int) -> Tensor:
    """(M, C, H, W) to (M, C count^2, H, W): the values ``apart`` pixels from each other around."""
    reach = count // 2 * apart
    wide = functional.pad(x, (reach,) * 4, mode="replicate")
    flat = functional.unfold(wide, count, dilation=apart)
    return flat.view(len(x), -1, *x.shape[2:])


def _lifted(x: Tensor) -> Tensor:
    """One number more, so that all have one length and cosine falls with Euclidean distance."""
    rest = (1 - (x**2).sum(1, keepdim=True)).clamp(min=0)
    return torch.cat([x, rest.sqrt()], 1)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True) + 1e-6


def _grey(x: Tensor) -> Tensor:
    return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)


def _lab(x: Tensor) -> Tensor:
    """CIE Lab, about -0.5..0.5 in each."""
    import cv2

    pictures = x.permute(0, 2, 3, 1).contiguous().numpy()
    lab = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2Lab) for picture in pictures])
    return (torch.from_numpy(lab) - torch.tensor([50.0, 0, 0])).permute(0, 3, 1, 2) / 100
