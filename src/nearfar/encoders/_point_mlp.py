"""Small networks for points: the one that looks, and the one that makes."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._generator import Generator


class PointMLP(Encoder):
    """Linear layers with leaky rectifiers between them, in full precision.

    Args:
        width: Of the hidden layers.
        layers: Hidden layers.
        dim: Width of the vectors.

    Shapes:
        (N, 2) -> (N, dim)
    """

    def __init__(self, width: int = 128, layers: int = 3, dim: int = 32) -> None:
        super().__init__()
        self.settings = {"width": width, "layers": layers, "dim": dim}
        self.dim = dim
        self.body = _mlp(2, width, layers, dim, slope=0.2)

    def forward(self, x: Tensor) -> Tensor:
        # Half precision has no digits for modes as narrow as a hundredth of the picture.
        with torch.autocast(x.device.type, enabled=False):
            out: Tensor = self.body(x.float())
        return out


class PointGenerator(Generator):
    """Normal noise to points, by linear layers with rectifiers between them.

    Args:
        width: Of the hidden layers.
        layers: Hidden layers.
        latent: Width of the noise.
        scale: Points are the last layer's numbers times this.

    Shapes:
        (N, latent) -> (N, 2)
    """

    def __init__(
        self, width: int = 128, layers: int = 3, latent: int = 2, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.settings = {"width": width, "layers": layers, "latent": latent, "scale": scale}
        self.latent, self.scale = latent, scale
        self.body = _mlp(latent, width, layers, 2, slope=0.0)

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            out: Tensor = self.body(z.float()) * self.scale
        return out


def _mlp(dim_in: int, width: int, layers: int, dim: int, slope: float) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a, b in pairwise([dim_in] + [width] * layers):
        parts += [nn.Linear(a, b), nn.LeakyReLU(slope)]
    return nn.Sequential(*parts, nn.Linear(width, dim))
