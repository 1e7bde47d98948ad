"""Mixtures of Gaussians in the plane, whose modes can be counted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.pairs._order import seeded


@dataclass(frozen=True)
class Mixture:
    """Equally likely round Gaussians.

    Attributes:
        centres: (K, 2).
        deviation: Of each, along both axes.
    """

    centres: Tensor
    deviation: float

    @property
    def scale(self) -> float:
        """Deviation of all points, along one axis."""
        return float(self.centres.square().mean().sqrt())

    def points(self, number: int, seed: int) -> tuple[Tensor, Tensor]:
        """Points and the mode of each: (number, 2) and (number,)."""
        with seeded(seed):
            mode = torch.randint(len(self.centres), (number,))
            return self.centres[mode] + self.deviation * torch.randn(number, 2), mode


def mixture(name: str) -> Mixture:
    """The two of Lin et al. 2018 (PacGAN, arXiv 1712.04086, section 4.1).

    Args:
        name: ``ring``: 8 modes on the unit circle, deviation 0.01; ``grid``: 25 modes, two apart,
            deviation 0.05.
    """
    if name == "ring":
        turn = torch.arange(8) * (2 * math.pi / 8)
        return Mixture(torch.stack([turn.cos(), turn.sin()], 1), 0.01)
    line = torch.arange(-4.0, 5.0, 2.0)
    return Mixture(torch.cartesian_prod(line, line), 0.05)
