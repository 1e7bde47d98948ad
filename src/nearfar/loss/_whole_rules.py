"""Rules of `_whole` that know a softmax: all but `_sigmoid_rule`."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._numbers import normal
from nearfar.loss._rule import LOWEST, OutOfRangeError, room
from nearfar.loss.push import STEEP, TOP

_LOG2E, _LN2 = math.log2(math.e), math.log(2)
# Up to `STEEP`, a row's force is a multiple of its loss where that is small.
_LEAST = math.exp(-40)


class Softmax:
    """A row's loss is log(1 + sum of the others / its own); both ways, the mean with the column's.

    Args:
        both: Columns ask as well.
        views: The rows are two views of the same items and each other's candidates.
        decoupled: Positives leave the denominator.
        ids: (N,) integers of all rows; equal ids are no negatives.
    """

    base, bias = _LOG2E, 0.0

    def __init__(
        self, *, both: bool = False, views: bool = False, decoupled: bool, ids: Tensor | None
    ) -> None:
        self.both, self.views, self.decoupled, self.ids = both, views, decoupled, ids

    def least(self, scale: float) -> float:
        return -math.inf if self.decoupled or scale > STEEP else _LEAST

    def loss(self, tile: Tensor, scale: float, bound: float) -> tuple[Tensor, int, list[Tensor]]:
        itself = tile.diagonal()
        if self.views:
            half = tile.shape[0] // 2
            own = tile.diagonal(half).repeat(2)
            tile.diagonal(half).fill_(-torch.inf)
            tile.diagonal(-half).fill_(-torch.inf)
        else:
            own = itself.clone()
        itself.fill_(-torch.inf)
        if self.ids is not None:
            tile.masked_fill_(self.ids[:, None] == self.ids, -torch.inf)
        own -= _shift(tile, scale)
        tile.exp2_()
        # One row for each side that asks: small operations cost by their number.
        sums = torch.stack([tile.sum(1), tile.sum(0)]) if self.both else tile.sum(1)
        logs = sums.log()
        gap = torch.sub(logs, own, alpha=_LN2)
        if bound > -LOWEST or self.ids is not None or tile.shape[0] <= 1 + self.views:
            _check_range(logs)
        loss = gap if self.decoupled else softplus(gap, threshold=40)
        return loss, gap.numel(), [sums, gap]

    def force(
        self, tile: Tensor, kept: list[Tensor], grad: Tensor | None, scale: float
    ) -> tuple[Tensor, float]:
        sums, gap = kept
        own = torch.ones_like(gap) if self.decoupled else gap.sigmoid()
        if grad is not None:
            own *= grad / 2 if self.both else grad
        largest = 1.0
        if scale > STEEP:
            # Small as all may be, beside each other they are not.
            largest = torch.linalg.vector_norm(own, math.inf).item() or 1.0
            own /= largest
        weight = own / sums
        if self.both:
            row, column = weight.unbind()
            out = torch.add(row.unsqueeze(1), column, out=room(tile)).mul_(tile)
            out.diagonal().sub_(own.sum(0))
        elif self.views:
            out = torch.add(weight.unsqueeze(1), weight, out=room(tile)).mul_(tile)
            both = own.view(2, -1).sum(0)
            half = both.shape[0]
            out.diagonal(half).sub_(both)
            out.diagonal(-half).sub_(both)
        else:
            out = torch.mul(tile, weight.unsqueeze(1), out=_out(tile, grad))
            out.diagonal().sub_(own)
        return out, largest


class LogSoftmax:
    """`Softmax` without options, by half the operations, for losses that are not small.

    A row's loss is the log of one and a little, which loses the little's digits.

    Args:
        both: Columns ask as well.
    """

    views, base, bias, low = False, 1.0, 0.0, 1 / 16

    def __init__(self, *, both: bool) -> None:
        self.both = both

    def least(self, scale: float) -> float:
        return self.low

    def loss(self, tile: Tensor, scale: float, bound: float) -> tuple[Tensor, int, list[Tensor]]:
        sides = (1, 0) if self.both else (1,)
        logs = [torch.log_softmax(tile, side, out=room(tile)) for side in sides]
        loss = torch.stack([log.diagonal() for log in logs]).neg_()
        return loss, loss.numel(), logs

    def force(
        self, tile: Tensor, kept: list[Tensor], grad: Tensor | None, scale: float
    ) -> tuple[Tensor, float]:
        shares = [torch.exp(log, out=_out(log, grad)) for log in kept]
        if grad is None:
            own: Tensor | int = len(kept)
        else:
            own, each = grad, grad / len(kept)
            shares[0] *= each.unsqueeze(1)
            if self.both:
                shares[1] *= each
        out = shares[0].add_(shares[1]) if self.both else shares[0]
        out.diagonal().sub_(own)
        return out, 1.0


class Labels:
    """SupCon's L_out: a row's loss is the log of all others' sum less the mean of its positives.

    Args:
        labels: (N,) integers.
    """

    views, base, bias = True, _LOG2E, 0.0

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels

    def least(self, scale: float) -> float:
        return -math.inf

    def loss(self, tile: Tensor, scale: float, bound: float) -> tuple[Tensor, int, list[Tensor]]:
        out = room(tile)
        out = torch.empty_like(tile) if out is None else out
        partner = torch.eq(self.labels[:, None], self.labels, out=out).fill_diagonal_(0.0)
        count = partner.sum(1)
        anchor = count.clamp_max(1.0)
        anchors = int(anchor.sum())
        if not anchors or int(count.max()) == tile.shape[0] - 1:
            raise OutOfRangeError
        partner /= count.clamp_min_(1.0)[:, None]
        pull = torch.linalg.vecdot(tile, partner)
        pull -= _shift(tile.fill_diagonal_(-torch.inf), scale)
        total = tile.exp2_().sum(1)
        logs = total.log()
        if bound > -LOWEST:
            _check_range(logs)
        return logs.sub_(pull, alpha=_LN2).mul_(anchor), anchors, [total, partner, anchor]

    def force(
        self, tile: Tensor, kept: list[Tensor], grad: Tensor | None, scale: float
    ) -> tuple[Tensor, float]:
        # The mean alone is asked for, and partners have as many partners: both pull alike.
        total, partner, anchor = kept
        row = anchor / total
        force = torch.add(row[:, None], row, out=room(tile))
        return force.mul_(tile).sub_(partner, alpha=2), 1.0


def _shift(tile: Tensor, scale: float) -> float:
    """What is taken from logits, in base 2, so that their exponentials can be summed."""
    if scale <= -LOWEST:
        return 0.0
    shift = tile.amax().item() - TOP[tile.dtype]
    if not math.isfinite(shift):
        raise OutOfRangeError
    tile -= shift
    normal(tile, 2.0)
    return shift


def _out(tile: Tensor, grad: Tensor | None) -> Tensor | None:
    """Where a force may go: in place of its tile, if nobody asks again."""
    return tile if grad is None else room(tile)


def _check_range(logs: Tensor) -> None:
    """The logarithms of sums of exponentials say that nothing was lost.

    Empty crowds and rows that are not finite are met here, too.
    """
    if not logs.numel() or not logs.min().item() >= LOWEST:
        raise OutOfRangeError
