"""This rank's rows of the global batch, and their game against everybody's."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._contrast import joined
from nearfar.loss._ranks import Group, Ranks
from nearfar.loss._ring import ring_push, ring_sigmoid_push
from nearfar.loss.push import (
    Backend,
    Cohorts,
    Crowd,
    Diagonal,
    Game,
    contrast_at_once,
    pull,
    push_pull,
    sigmoid_sum,
)


class Shard:
    """Rows that this rank holds.

    Args:
        rows: (n, D) the rows.
        group: See `info_nce`.
        views: The rows are this many views of the same items, one view after the other.
    """

    def __init__(self, rows: Tensor, group: Group, views: int = 1) -> None:
        self.ranks = Ranks(group)
        self.rows, self.views, self.device = rows.shape[0], views, rows.device
        self.counts = self.ranks.count(self.rows, self.device)
        self.first, self.total = sum(self.counts[: self.ranks.rank]), sum(self.counts)

    def gather(self, x: Tensor) -> Tensor:
        """All ranks' rows."""
        return self.ranks.gather(x, self.counts)

    def strangers(self, ids: Tensor | None) -> Crowd:
        """Everybody but those of the same item, or of the same id."""
        if ids is not None:
            ids = ids.repeat(self.views)
            return Crowd(row_id=ids, column_id=self.gather(ids))
        items, views = self.rows // self.views, range(self.views)
        ids = torch.arange(self.first, self.first + items, device=self.device)
        if self.views > 1:
            ids = ids.repeat(self.views)
        diagonals = tuple(
            Diagonal(row * items, self.first + column * items, items)
            for row, column in product(views, views)
        )
        return Crowd(row_id=ids, column_id=self.gather(ids), diagonals=diagonals)

    def push(self, game: Game, backend: Backend) -> tuple[Tensor, Tensor | None]:
        """Logsumexp over the crowd of each of our queries and, if asked, of each of our keys.

        Args:
            game: Our queries and our keys; the columns of its crowd are all ranks' keys.
            backend: Who computes.
        """
        rows, columns, _ = self.push_pull(replace(game, partners=None), backend)
        return rows, columns

    def push_pull(
        self, game: Game, backend: Backend
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """As `push`; and the pull of the game's partners, some of our own keys, or of cohorts."""
        if self.ranks.ring:
            rows, columns = ring_push(game, self.ranks, self.counts, backend)
            own = pull(self._against_all(game) if isinstance(game.partners, Cohorts) else game)
        else:
            rows, columns, own = push_pull(self._against_all(game), backend)
        if columns is None or self.ranks.alone:
            return rows, columns, own
        return rows, joined(*self.ranks.scatter(columns, self.counts)), own

    def contrast(
        self,
        game: Game,
        offset: Tensor | None,
        backend: Backend,
        *,
        decoupled: bool,
        reduction: str,
    ) -> Tensor | None:
        """The reduced losses of our rows and, if asked, keys, where a sum is to be had at once."""
        one_way = game.key is not None and not game.both
        if reduction == "none" or self.ranks.ring or not (one_way or self.ranks.alone):
            return None
        all_, mean = self._against_all(game), reduction == "mean"
        here = mean and self.ranks.alone
        loss = contrast_at_once(all_, offset, backend, decoupled=decoupled, mean=here)
        if loss is None or self.ranks.alone:
            return loss
        return self.ranks.total(loss, self.rows, mean=mean)

    def sigmoid_sum(self, game: Game, bias: Tensor, backend: Backend) -> Tensor:
        """Over our queries and everybody's keys, every pair on its own, and over our partners."""
        if self.ranks.ring:
            push = ring_sigmoid_push(replace(game, partners=None), bias, self.ranks, self.counts)
            own = pull(game)
            return push if own is None else push + softplus(-own - bias, threshold=40).sum()
        return sigmoid_sum(self._against_all(game), bias, backend)

    def reduce(self, loss: Tensor, reduction: str) -> Tensor:
        """none: our rows; sum or mean: over all ranks' rows."""
        if reduction == "none":
            return loss
        if self.ranks.alone:
            return loss.mean() if reduction == "mean" else loss.sum()
        return self.ranks.total(loss.sum(), len(loss), mean=reduction == "mean")

    def _against_all(self, game: Game) -> Game:
        """Our queries and all ranks' keys."""
        if self.ranks.alone:
            return game
        own = game.partners
        if isinstance(own, slice):
            own = slice(own.start + self.first, own.stop + self.first)
        return replace(game, key=self.gather(game.keys), partners=own)
