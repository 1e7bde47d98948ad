"""The rule of `_whole` that knows no softmax."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._numbers import normal
from nearfar.loss._rule import FEW, LOWEST, OutOfRangeError, room


class Sigmoid:
    """SigLIP: every pair is a question of its own; a row's loss is the sum over its pairs.

    The mean alone is asked for.

    Args:
        bias: Added to every logit.
        ids: (N,) integers; other rows of the same id are left out.
    """

    views, base = False, 1.0

    def __init__(self, bias: float, ids: Tensor | None) -> None:
        self.bias, self.ids = bias, ids

    def least(self, scale: float) -> float:
        return -math.inf

    def loss(self, tile: Tensor, scale: float, bound: float) -> tuple[Tensor, int, list[Tensor]]:
        if self.ids is not None:
            same = self.ids[:, None] == self.ids
            if bool(same[0].all()):
                raise OutOfRangeError
            tile.masked_fill_(same.fill_diagonal_(False), -torch.inf)
        _turn_partners(tile)
        if scale > -LOWEST:
            normal(tile, math.e)
        found = softplus(tile, threshold=40, out=room(tile))  # type: ignore[call-arg]
        return found, tile.shape[0], []

    def force(
        self, tile: Tensor, kept: list[Tensor], grad: Tensor | None, scale: float
    ) -> tuple[Tensor, float]:
        _turn_partners(tile.sigmoid_())
        return tile, 1.0


def _turn_partners(tile: Tensor) -> None:
    """Change the sign of what is on the diagonal."""
    if tile.shape[0] <= FEW:
        tile *= _signs(tile.shape[0], tile.dtype)
    else:
        tile.diagonal().neg_()


@lru_cache(maxsize=8)
def _signs(rows: int, dtype: torch.dtype) -> Tensor:
    """One for strangers, minus one for partners: one operation does what takes a view two."""
    return torch.ones(rows, rows, dtype=dtype, device="cpu").fill_diagonal_(-1.0)
