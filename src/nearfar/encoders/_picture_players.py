"""Residual networks for small pictures: the one that looks, and the one that makes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._generator import Generator
from nearfar.errors import NearfarError


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; the second one starts at zero, in place of norms."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]
        self.shortcut: nn.Module = nn.Identity()
        if width_in != width:
            self.shortcut = nn.Conv2d(width_in, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second(functional.leaky_relu(self.first(functional.leaky_relu(x, 0.2)), 0.2))
        out: Tensor = self.shortcut(x) + inner
        return out


class PictureCritic(Encoder):
    """A discriminator's body: halves the side down to four pixels, then one linear layer.

    No norms: a batch norm tells reals from fakes by the company they come in, and a penalty of
    slopes wants each picture's vector to depend on it alone. In full precision.

    Args:
        size: Side of the pictures: 8, 16, 32 or 64.
        width: Channels at full size; they double down to four times as many.
        dim: Width of the vectors.

    Raises:
        NearfarError: Another size.

    Shapes:
        (N, 3, size, size) -> (N, dim)
    """

    def __init__(self, size: int = 32, width: int = 32, dim: int = 64) -> None:
        super().__init__()
        self.settings = {"size": size, "width": width, "dim": dim}
        self.dim = dim
        widths = _widths(size, width)
        parts: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1)]
        for a, b in pairwise(widths):
            parts += [_Residual(a, b), nn.AvgPool2d(2)]
        last = _Residual(widths[-1], widths[-1])
        self.body = nn.Sequential(*parts, last, nn.LeakyReLU(0.2), nn.Flatten())
        self.out = nn.Linear(widths[-1] * 16, dim)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.out(self.body(x.float()))
        return out


class PictureGenerator(Generator):
    """Normal noise to pictures in 0..1, from four pixels a side upwards.

    Args:
        size: Side of the pictures: 8, 16, 32 or 64.
        width: Channels at full size; four times as many, at most, at four pixels.
        latent: Width of the noise.

    Raises:
        NearfarError: Another size.

    Shapes:
        (N, latent) -> (N, 3, size, size)
    """

    def __init__(self, size: int = 32, width: int = 32, latent: int = 64) -> None:
        super().__init__()
        self.settings = {"size": size, "width": width, "latent": latent}
        self.latent = latent
        widths = _widths(size, width)[::-1]
        self.start = nn.Linear(latent, widths[0] * 16)
        parts: list[nn.Module] = [nn.Unflatten(1, (widths[0], 4, 4)), _Residual(*widths[:1] * 2)]
        for a, b in pairwise(widths):
            parts += [nn.Upsample(scale_factor=2), _Residual(a, b)]
        parts += [nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 3, 3, padding=1)]
        self.body = nn.Sequential(*parts)

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            out: Tensor = self.body(self.start(z.float())).sigmoid()
        return out


def _widths(size: int, width: int) -> list[int]:
    """Channels from full size down to four pixels a side."""
    if size not in (8, 16, 32, 64):
        raise NearfarError(f"size={size}: wanted the side of the pictures, 8, 16, 32 or 64.")
    halvings = size.bit_length() - 3
    return [width * min(4, 2**n) for n in range(halvings + 1)]
