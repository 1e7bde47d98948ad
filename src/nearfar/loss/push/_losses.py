"""From sums over crowds to a loss: of each row, how far its crowd is above its positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss.loops import ready
from nearfar.loss.push._cohorts import Cohorts
from nearfar.loss.push._game import Game
from nearfar.loss.push._pull import gathered_by, pull
from nearfar.loss.push._range import LOG2E, logarithm


class UnderflowError(ArithmeticError):
    """Sums or forces lose what counts, or a crowd is empty: the other way does it, or says so."""


class Found(NamedTuple):
    """A loss, and its gradients by query, key and the positives' logits, where they are wanted."""

    loss: Tensor
    query: Tensor | None
    key: Tensor | None
    positive: Tensor


class Losses:
    """Of each row log(1 + exp(crowd - positive)), or crowd - positive, and their sum or mean.

    Both ways, it is half of the rows' and of the columns'. With cohorts a row is ``decoupled``, and
    left out if it has no partner.

    Args:
        game: Who plays.
        offset: (N,) added to the positives' logits.
        decoupled: Positives leave the logarithm.
        mean: Over rows.

    Attributes:
        positive: (P,) the partners' logits, of cohorts their sums; all against all, of the first of
            two views.
        gathered: What `add_pull` wants to know of cohorts.
        share: Of each row's loss, or column's, in what comes out.
    """

    def __init__(self, game: Game, offset: Tensor | None, *, decoupled: bool, mean: bool) -> None:
        self.gathered = gathered_by(game)
        own = pull(game, self.gathered)
        assert own is not None
        self.positive = own if offset is None else own + offset
        self.decoupled = decoupled
        self.several = game.partners.several if isinstance(game.partners, Cohorts) else None
        self.share = 0.5 if game.both else 1.0
        if mean:
            self.share /= len(game.query) if self.several is None else int(self.several.sum())

    def loss(self, logs: Sequence[Tensor]) -> Tensor:
        """0-dim, differentiable.

        Args:
            logs: (N,) logarithms of the rows' sums; both ways, of the columns', too.
        """
        if self.several is not None:
            crowd = torch.where(self.several, logs[0], 0.0)
            return (crowd.sum() - self.positive.sum()) * self.share
        return self._loss(torch.cat(list(logs)).view(-1, len(self.positive)) - self.positive)

    def of(
        self, sums: Tensor, shift: float, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The loss, 0-dim, and its gradient by the positives.

        Args:
            sums: (N,) of exponentials of rows; both ways, and behind them, of columns.
            shift: Taken from base-2 logits before exp2.
            weights: As ``sums``; receives what exponentials are multiplied by to be forces, before
                the share.
        """
        if self.several is not None:
            return self._of_several(sums, shift, weights)
        if ready(sums, len(self.positive) ** 2):
            from nearfar.loss.loops.rows import contrast

            grad, words = torch.empty_like(self.positive), (self.decoupled, self.share)
            level = self._level(shift).contiguous()
            total = contrast(sums.view(-1, len(level)), level, *words, grad, weights)
            return grad.new_full((), total), grad
        if weights is not None:
            crowd = sums.view(-1, len(self.positive)) + self.beside(shift)
            torch.reciprocal(crowd, out=weights.view_as(crowd))
        gap = sums.log().view(-1, len(self.positive)) - self._level(shift)
        loss = self._loss(gap)
        grad = gap.fill_(1.0) if self.decoupled else gap.sigmoid_()
        return loss, grad.sum(0).mul_(-self.share)

    def _of_several(
        self, sums: Tensor, shift: float, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        assert self.several is not None
        grad = torch.full_like(self.positive, -self.share)
        if ready(sums, len(sums) ** 2):
            from nearfar.loss.loops.cohorts import contrast

            total = contrast(sums, self.several, shift / LOG2E, self.positive, weights)
            return grad.new_full((), total * self.share), grad
        if weights is not None:
            torch.div(self.several, sums, out=weights)
        return self.loss([logarithm(sums, shift)]), grad

    def beside(self, shift: float) -> Tensor:
        """What is added to a row's sum before the logarithm, (P,) or (N,)."""
        if self.decoupled:
            return torch.zeros_like(self.positive)
        # Not nothing, for who has no crowd.
        return self._level(shift).exp().clamp_min_(torch.finfo(self.positive.dtype).tiny)

    def _level(self, shift: float) -> Tensor:
        return self.positive - shift / LOG2E if shift else self.positive

    def _loss(self, gap: Tensor) -> Tensor:
        # log(1 + e^x) to the last digit: torch's switch to x at 20 would show in float64.
        return (gap if self.decoupled else softplus(gap, threshold=40)).sum() * self.share
