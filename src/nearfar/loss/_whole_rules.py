"""The losses of `_whole`: value and force, as functions of a stored matrix of similarities."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._whole import OutOfRangeError

_LOG2E = math.log2(math.e)
# Beside a sum of at least this, float32 loses nothing that counts; float64 neither.
_LOWEST = 2.0**-86


class Softmax:
    """A row's loss is log(1 + sum of the others / its own); both ways, the mean with the column's.

    Args:
        both: Columns ask as well.
        views: The rows are two views of the same items and each other's candidates.
        decoupled: Positives leave the denominator.
        ids: (N,) integers of all rows; equal ids are no negatives.
    """

    def __init__(
        self, *, both: bool = False, views: bool = False, decoupled: bool, ids: Tensor | None
    ) -> None:
        self.both, self.views, self.decoupled, self.ids = both, views, decoupled, ids

    def loss(self, tile: Tensor, scale: float) -> tuple[Tensor, float, list[Tensor]]:
        half = tile.shape[0] // 2
        if self.views:
            own = tile.diagonal(half).repeat(2).mul_(scale)
            tile.diagonal(half).fill_(-torch.inf)
            tile.diagonal(-half).fill_(-torch.inf)
        else:
            own = tile.diagonal() * scale
        tile.fill_diagonal_(-torch.inf)
        if self.ids is not None:
            tile.masked_fill_(self.ids[:, None] == self.ids, -torch.inf)
        _exponentiate(tile, scale)
        # One row for each side that asks: small operations cost by their number.
        sums = torch.stack([tile.sum(1), tile.sum(0)]) if self.both else tile.sum(1)[None]
        _check_range(sums)
        # Forces are multiples of e^-own, which must keep its digits.
        deep = -math.log(torch.finfo(own.dtype).smallest_normal) + 8
        if not self.decoupled and own.max().item() > deep:
            raise OutOfRangeError
        gap = sums.log().sub_(own)
        loss = gap if self.decoupled else softplus(gap, threshold=40)
        return loss, 1 / gap.numel(), [sums, gap]

    def force(self, tile: Tensor, kept: list[Tensor], grad: Tensor | None) -> Tensor:
        sums, gap = kept
        own = torch.ones_like(gap) if self.decoupled else gap.sigmoid()
        if grad is not None:
            own = own * (grad / len(own))
        weight = own / sums
        row, column = weight[0, :, None], weight[-1]
        if self.views:
            half = tile.shape[0] // 2
            out = torch.add(row, column).mul_(tile)
            both = own[0, :half] + own[0, half:]
            out.diagonal(half).sub_(both)
            out.diagonal(-half).sub_(both)
            return out
        out = torch.add(row, column).mul_(tile) if self.both else tile * row
        out.diagonal().sub_(own.sum(0) if self.both else own[0])
        return out


class Labels:
    """SupCon's L_out: a row's loss is the log of all others' sum less the mean of its positives.

    Args:
        labels: (N,) integers.
    """

    views = True

    def __init__(self, labels: Tensor) -> None:
        self.positive = (labels[:, None] == labels).fill_diagonal_(False)
        self.count = self.positive.sum(1)
        self.anchor = self.count > 0

    def loss(self, tile: Tensor, scale: float) -> tuple[Tensor, float, list[Tensor]]:
        anchors = int(self.anchor.sum())
        if not anchors or int(self.count.max()) == tile.shape[0] - 1:
            raise OutOfRangeError
        partner = self.positive.to(tile.dtype) / self.count.clamp_min(1)[:, None]
        pull = torch.linalg.vecdot(tile, partner).mul_(scale)
        tile.fill_diagonal_(-torch.inf)
        total = _exponentiate(tile, scale).sum(1)
        _check_range(total)
        return (total.log() - pull).mul_(self.anchor), 1 / anchors, [total, partner]

    def force(self, tile: Tensor, kept: list[Tensor], grad: Tensor | None) -> Tensor:
        total, partner = kept
        own = self.anchor if grad is None else self.anchor * grad
        row = own / total
        pull = partner * own[:, None]
        return torch.add(row[:, None], row).mul_(tile).sub_(pull).sub_(pull.T)


class Sigmoid:
    """SigLIP: every pair is a question of its own; a row's loss is the sum over its pairs.

    Args:
        bias: Added to every logit.
        ids: (N,) integers; other rows of the same id are left out.
    """

    views = False

    def __init__(self, bias: float, ids: Tensor | None) -> None:
        self.bias, self.ids = bias, ids

    def loss(self, tile: Tensor, scale: float) -> tuple[Tensor, float, list[Tensor]]:
        tile.mul_(scale).add_(self.bias)
        if self.ids is not None:
            same = self.ids[:, None] == self.ids
            if bool(same[0].all()):
                raise OutOfRangeError
            tile.masked_fill_(same.fill_diagonal_(False), -torch.inf)
        tile.diagonal().neg_()
        return softplus(tile, threshold=40).sum(), 1 / tile.shape[0], []

    def force(self, tile: Tensor, kept: list[Tensor], grad: Tensor | None) -> Tensor:
        out = tile.sigmoid()
        out.diagonal().neg_()
        if grad is not None:
            out *= grad[:, None]
        return out


def _exponentiate(tile: Tensor, scale: float) -> Tensor:
    """In place."""
    return tile.mul_(scale * _LOG2E).exp2_()


def _check_range(sums: Tensor) -> None:
    """Nothing that counts was lost in sums of exponentials.

    Empty crowds and rows that are not finite are met here, too.
    """
    if not sums.numel():
        raise OutOfRangeError
    low, high = torch.aminmax(sums)
    if not (low.item() >= _LOWEST and high.item() < math.inf):
        raise OutOfRangeError
