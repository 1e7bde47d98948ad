"""Soft and several positives: a matrix of weights, stored or sparse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._contrast import contrast, joined
from nearfar.loss._negatives import Explicit
from nearfar.loss._numbers import exact
from nearfar.loss._shard import Shard
from nearfar.loss.push import Backend, Crowd, Game, Pairs, gradients, partners

# The mean over positives outside the logarithm, or inside it.
Form = Literal["out", "in"]


def weighted(
    game: Game,
    weight: Tensor,
    shard: Shard,
    explicit: Explicit | None,
    backend: Backend,
    *,
    in_batch: bool,
    decoupled: bool,
    form: Form,
) -> Tensor:
    """Push away from the crowd, pull towards the weighted mean of the positives, (N,).

    Args:
        game: Queries, keys and scale. Its crowd says who is left out as a negative; a positive
            never is.
        weight: (N, N_all), as the user gave it.
        shard: Our rows.
        explicit: Further negatives.
        backend: Who computes.
        in_batch: Keys that are no positives are negatives.
        decoupled: Positives leave the denominator.
        form: ``out``: the mean of their logits; ``in``: the logarithm of their mean exponential.
    """
    if form == "in":
        weight = weight.to_sparse_coo()  # type: ignore[no-untyped-call]
    weights = Weights(weight, game.query.dtype)
    extra = None if explicit is None else explicit.push(game, backend)

    def side(game: Game, weights: Weights) -> Tensor:
        return _side(game, weights, shard, extra, backend, in_batch, decoupled, form)

    loss = side(replace(game, both=False), weights)
    if not game.both:
        return loss
    back = Weights(weight, game.query.dtype, turned=True)
    return (loss + side(game.turned(), back)) / 2


def _side(
    game: Game,
    weights: Weights,
    shard: Shard,
    extra: Tensor | None,
    backend: Backend,
    in_batch: bool,
    decoupled: bool,
    form: Form,
) -> Tensor:
    crowd, keys = game.crowd, shard.gather(game.keys)
    if form == "in":
        pull = weights.loudest(game, keys, weigh=True)
    else:
        pull = weights.pull(game.query, keys) * game.scale
        if crowd.bias is not None:
            pull = pull + weights.mean(crowd.bias)
    everybody = in_batch and not decoupled and crowd.row_id is None and crowd.mask is None
    if everybody or not weights.sparse:
        if not everybody:
            stands = weights.crowd(crowd, in_batch, decoupled)
            crowd = Crowd(bias=crowd.bias, mask=stands)
            check.has_negative(stands, extra, needed=1 if decoupled else 2)
        rows, _ = shard.push(replace(game, crowd=crowd), backend)
        return (rows if extra is None else joined(rows, extra)) - pull
    parts = [torch.full_like(pull, -torch.inf)] if extra is None else [extra]
    if in_batch:
        crowd = replace(crowd, left_out=weights.pairs)
        parts.append(shard.push(replace(game, crowd=crowd), backend)[0])
    negative = joined(*parts)
    check.somebody(negative)
    return contrast(negative, weights.loudest(game, keys), pull, decoupled=decoupled)


class Weights:
    """w_ij >= 0, a row sums to one.

    Args:
        weight: (N, M) as the user gave it, stored or sparse.
        dtype: What to compute in.
        turned: Columns sum to one, and become rows.

    Raises:
        NearfarError: A row without any positive weight, or with one that is no weight.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype, *, turned: bool = False) -> None:
        self.sparse = weight.layout != torch.strided
        weight = weight.t() if turned else weight
        if not self.sparse:
            weight = weight.to(dtype)
            sums = weight.sum(1)
            _refuse((weight < 0).any(1), sums, turned)
            self.matrix = weight / sums[:, None]
            return
        weight = weight.to_sparse_coo().coalesce()  # type: ignore[no-untyped-call]
        row, column = weight.indices()
        value = weight.values().to(dtype)
        sums = value.new_zeros(len(weight)).index_add(0, row, value)
        negative = value.new_zeros(len(weight)).index_add(0, row, (value < 0).to(dtype)) > 0
        _refuse(negative, sums, turned)
        value = value / sums[row]
        there = value > 0
        self.pairs = Pairs(row[there], column[there])
        self.matrix = torch.sparse_coo_tensor(
            torch.stack(self.pairs),
            value[there],
            weight.shape,
            is_coalesced=True,
            check_invariants=False,
        )

    def pull(self, query: Tensor, key: Tensor) -> Tensor:
        """sum_j w_ij q_i . k_j, (N,)."""
        with exact(query):
            mean = self.matrix @ key
        return partners(query, mean)

    def mean(self, grid: Tensor) -> Tensor:
        """sum_j w_ij b_ij, (N,); a -inf that has no weight does not count."""
        if self.sparse:
            row, column = self.pairs
            terms = self.matrix.values() * grid[row, column]
            return terms.new_zeros(len(grid)).index_add(0, row, terms)
        return torch.where(self.matrix > 0, self.matrix * grid, 0.0).sum(1)

    def crowd(self, crowd: Crowd, in_batch: bool, decoupled: bool) -> Tensor:
        """(N, M) bool of a stored matrix: who stands in the denominators."""
        positive = self.matrix > 0
        if not in_batch:
            return torch.zeros_like(positive) if decoupled else positive
        out = crowd.left_out_grid(len(positive), positive.shape[1], positive.device)
        allowed = torch.ones_like(positive) if out is None else ~out
        return allowed & ~positive if decoupled else allowed | positive

    def loudest(self, game: Game, key: Tensor, *, weigh: bool = False) -> Tensor:
        """Logsumexp over each row's positives of a sparse matrix, weighed by w_ij or not, (N,)."""
        row, column = self.pairs
        with exact(key):
            if check.traced():
                dots = _dots(game.query, key, row, column)
            else:
                dots = _PairDots.apply(game.query, key, row, column)  # type: ignore[no-untyped-call]
        scores = dots * game.scale
        if game.crowd.bias is not None:
            scores = scores + game.crowd.bias[row, column]
        if weigh:
            scores = scores + self.matrix.values().log()
        top = torch.full_like(game.query[:, 0], -torch.inf)
        top = top.scatter_reduce(0, row, scores.detach(), "amax")
        sums = torch.zeros_like(top).index_add(0, row, (scores - top[row]).exp())
        return sums.log() + top


def _refuse(negative: Tensor, sums: Tensor, turned: bool) -> None:
    if not check.readable():
        return
    bad = negative | ~((sums > 0) & sums.isfinite())
    if bool(bad.any()):
        raise NearfarError(
            f"weight {'column' if turned else 'row'} {int(bad.nonzero()[0])} is negative, not "
            "finite or all zero; wanted weights >= 0 with at least one positive partner in every "
            "row (and column, if symmetric)."
        )


class _PairDots(torch.autograd.Function):
    """q_i . k_j of single pairs, (P,), without P vectors in memory for the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, row: Tensor, column: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, row, column)
        parts = zip(torch.split(row, 2**16), torch.split(column, 2**16), strict=True)
        return torch.cat([_dots(query, key, i, j) for i, j in parts])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, row, column = ctx.saved_tensors
        if torch.is_grad_enabled() or check.many(grad):

            def again(query: Tensor, key: Tensor) -> list[Tensor]:
                return [_dots(query, key, row, column)]

            return *gradients(again, (query, key), [grad]), None, None
        force = torch.sparse_coo_tensor(
            torch.stack([row, column]), grad, (len(query), len(key)), check_invariants=False
        )
        with exact(key):
            return force @ key, force.t() @ query, None, None


def _dots(query: Tensor, key: Tensor, row: Tensor, column: Tensor) -> Tensor:
    dots: Tensor = torch.linalg.vecdot(query[row], key[column])
    return dots
