"""Critics that learn: scores of all pairs of anchors and candidates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.anatomy.information._copula import GaussianCritic

_WIDE, _NARROW, _FEATURES = 32, 16, 64
# Added to a mean square, about 1, before its logarithm: a row near the origin is nothing special.
_FLOOR = 1e-2


class Concat(nn.Module):
    """A small network on (x, y). Its last layer begins at zero: it says nothing at first."""

    def __init__(self, dim_x: int, dim_y: int) -> None:
        super().__init__()
        # The first layer of a network on (x, y) is a sum: each side is multiplied once.
        self.from_x, self.from_y = nn.Linear(dim_x, _WIDE), nn.Linear(dim_y, _WIDE)
        self.middle = nn.Linear(_WIDE, _NARROW)
        self.out = nn.Linear(_NARROW, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, M) scores of (N, DX) anchors with (M, DY) candidates."""
        hidden = torch.relu_(self.from_x(x)[:, None] + self.from_y(y))
        score: Tensor = self.out(torch.relu_(self.middle(hidden))).squeeze(-1)
        return score


class Residual(nn.Module):
    """A base in closed form, plus what a small network on (x, y) and one on each side find.

    The networks on either side meet in an inner product, which undoes a twist of x and y that a
    network on both learns slowly; they too say nothing at first.
    """

    def __init__(self, dim_x: int, dim_y: int, base: GaussianCritic) -> None:
        super().__init__()
        self.base = base
        self.concat = Concat(dim_x + 2, dim_y + 2)
        self.side_x, self.side_y = _side(dim_x + 2), _side(dim_y + 2)
        for weight in self.side_y[-1].parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, M) scores of (N, DX) anchors with (M, DY) candidates."""
        wide_x, wide_y = with_length(x), with_length(y)
        learned: Tensor = self.concat(wide_x, wide_y) + self.side_x(wide_x) @ self.side_y(wide_y).T
        return learned + self.base(x, y)


def with_length(rows: Tensor) -> Tensor:
    """Two columns more, which tails and twists have in common: log length, squared length."""
    mean = rows.square().mean(1, keepdim=True)
    return torch.cat([rows, (mean + _FLOOR).log() / 2, mean - 1], 1)


def _side(dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, _FEATURES),
        nn.SiLU(),
        nn.Linear(_FEATURES, _FEATURES),
        nn.SiLU(),
        nn.Linear(_FEATURES, _FEATURES // 2),
    )
