"""Encoders for things without an up: a small network on ring spectra, and averages over turns."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._resnet import ResNet


class RingNet(Encoder):
    """Two layers on features that do not change when their source turns.

    The spectra of rings are invariant by construction, so what is left to learn is which of their
    numbers survive noise and a centre that is a little off, and tell things apart.

    Args:
        dim_in: Numbers a window has.
        hidden: Width of the hidden layer.
        dim: Width of the embedding.

    Shapes:
        (N, dim_in) -> (N, dim), or (N, T, dim_in) -> (N, dim), the mean over T turns.

    Example:
        >>> RingNet(384).eval()(torch.zeros(2, 384)).shape
        torch.Size([2, 64])
    """

    def __init__(self, dim_in: int, hidden: int = 512, dim: int = 64) -> None:
        super().__init__()
        self.settings = {"dim_in": dim_in, "hidden": hidden, "dim": dim}
        self.dim = dim
        self.body = nn.Sequential(
            nn.BatchNorm1d(dim_in),
            nn.Linear(dim_in, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return over_turns(self.body, x, 2)


class TurnedResNet(Encoder):
    """A small ResNet on pixels, which has to learn what turning does; optionally over turns.

    Args:
        channels: Channels of the picture.
        dim: Width of the embedding.

    Shapes:
        (N, channels, H, W) -> (N, dim), or (N, T, channels, H, W) -> (N, dim).
    """

    def __init__(self, channels: int = 1, dim: int = 64) -> None:
        super().__init__()
        self.settings = {"channels": channels, "dim": dim}
        self.dim = dim
        self.body = ResNet((32, dim, 2 * dim), channels=channels)
        self.out = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return over_turns(nn.Sequential(self.body, self.out), x, 4)


def over_turns(encode: nn.Module, x: Tensor, ndim: int) -> Tensor:
    """Encode; with a second axis of turns, the mean of the unit vectors over it.

    Args:
        encode: From ``ndim`` dimensions to (N, D).
        x: (N, ...) with ``ndim`` dimensions, or (N, T, ...) with one more.
        ndim: Dimensions of what ``encode`` takes.
    """
    if x.ndim == ndim:
        out: Tensor = encode(x)
        return out
    vectors = functional.normalize(encode(x.flatten(0, 1)), dim=1)
    return torch.mean(vectors.view(*x.shape[:2], -1), 1)
