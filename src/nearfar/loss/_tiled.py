"""The tiled backend: logsumexp of a similarity matrix that is never stored.

Similarities are computed tile by tile into a buffer that stays in cache, exponentiated once in
place and summed along rows and columns. The backward pass finds the exponentiated tiles kept while
they fit a memory budget (3 matrix products for both directions), or computes them again (4). One
batch against itself needs only the tiles on and above the diagonal: half of everything.

Where no logit can leave a safe range, exp can neither overflow nor vanish and nothing is subtracted
from it; otherwise every row and column carries its running maximum, for a second exp an entry.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._tiles import Block, Game, Sums, view

# Exponentiated tiles are kept for the backward pass up to this many bytes.
KEEP = 512 * 2**20
# From this many similarities on, tiles are at least as fast as the stored matrix.
WINS_FROM = 256 * 256


def wins(query: Tensor, key: Tensor) -> bool:
    """Tiles are the better choice here, and nothing is tracing through."""
    return len(query) * len(key) >= WINS_FROM and not check.traced(query, key)


def push(
    query: Tensor,
    key: Tensor | None,
    scale: Tensor,
    row_id: Tensor | None = None,
    column_id: Tensor | None = None,
    *,
    both: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """log sum_j exp(scale q_i . k_j) over the crowd, for each query and, if asked, for each key.

    Args:
        query: (N, D), float32 or float64.
        key: (M, D); None: the queries are their own keys.
        scale: 0-dim, 1 / temperature.
        row_id: (N,) integers; a key with the query's id is not in its crowd. None: the key of the
            query's own index is not.
        column_id: (M,) integers, the keys' ids.
        both: Also over the queries, for each key.

    Returns:
        (N,) and (M,) or None; -inf where the crowd is empty.
    """
    if key is None:
        return _Push.apply(query, query, scale, row_id, row_id, False, True), None  # type: ignore[no-untyped-call]
    if both:
        rows, columns = _Push.apply(query, key, scale, row_id, column_id, True, False)  # type: ignore[no-untyped-call]
        return rows, columns
    return _Push.apply(query, key, scale, row_id, column_id, False, False), None  # type: ignore[no-untyped-call]


class _Push(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        scale: Tensor,
        row_id: Tensor | None,
        column_id: Tensor | None,
        both: bool,
        triangle: bool,
    ) -> Any:
        game = Game(query * scale, key, row_id, column_id, triangle)
        bounded = game.bounded()
        rows = Sums(query, bounded=bounded)
        columns = rows if triangle else Sums(key, bounded=bounded)
        share = 0.5 if triangle else 1.0
        size = share * len(query) * len(key) * query.element_size()
        kept: list[Tensor] | None = None
        if bounded and size <= KEEP and any(ctx.needs_input_grad):
            kept = []
        buffer, scratch = game.buffer(), game.buffer()
        with torch.autocast(query.device.type, enabled=False):
            for block in game.blocks():
                tile = game.logits(block, None if kept is not None else buffer)
                if bounded:
                    tile.exp_()
                if kept is not None:
                    kept.append(tile)
                rows.add(block.rows, tile, 1, scratch)
                if both or triangle:
                    columns.add(block.beyond, tile[:, block.skip :], 0, scratch)
        row_log = rows.log()
        column_log = columns.log() if both else row_log
        ctx.save_for_backward(query, key, scale, row_id, column_id, row_log, column_log)
        ctx.bounded, ctx.kept, ctx.both, ctx.triangle = bounded, kept, both, triangle
        return (row_log, column_log) if both else row_log

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        query, key, scale, row_id, column_id, row_log, column_log = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_twice(ctx, grads), None, None, None, None)
        game = Game(query * scale, key, row_id, column_id, ctx.triangle)
        needs_query = ctx.needs_input_grad[0] or ctx.needs_input_grad[2]
        needs_key = ctx.needs_input_grad[1] and not ctx.triangle
        grad_query = torch.zeros_like(query) if needs_query or ctx.triangle else None
        grad_key = torch.zeros_like(key) if needs_key else None
        row_force = _Force(grads[0], row_log, ctx.bounded)
        column_force = None
        if ctx.both or ctx.triangle:
            column_force = _Force(grads[-1], column_log, ctx.bounded)
        buffer, scratch, second = game.buffer(), game.buffer(), game.buffer()
        with torch.autocast(query.device.type, enabled=False):
            for number, block in enumerate(game.blocks()):
                if ctx.kept is not None:
                    tile = ctx.kept[number]
                else:
                    tile = game.logits(block, buffer)
                    if ctx.bounded:
                        tile.exp_()
                force = _forces(tile, block, row_force, column_force, scratch, second)
                if grad_query is not None:
                    at = grad_query[block.rows]
                    torch.addmm(at, force, key[block.columns], out=at)
                target = grad_query if ctx.triangle else grad_key
                if target is not None and (grad_key is not None or block.beyond.start < len(key)):
                    at = target[block.beyond]
                    if len(at):
                        torch.addmm(at, force[:, block.skip :].T, query[block.rows], out=at)
        grad_scale = None
        if ctx.needs_input_grad[2] and grad_query is not None:
            grad_scale = (query * grad_query).sum() / (2 if ctx.triangle else 1)
        for grad in (grad_query, grad_key):
            if grad is not None:
                grad *= scale
        return grad_query, grad_key, grad_scale, None, None, None, None


class _Force:
    """What each row, or column, weighs in the gradient: its incoming gradient times p."""

    def __init__(self, grad: Tensor, log: Tensor, bounded: bool) -> None:
        self.empty = log == -torch.inf
        self.log = log.masked_fill(self.empty, 0.0)
        self.bounded = bounded
        self.grad = grad.masked_fill(self.empty, 0.0)
        self.weight = self.grad * (-self.log).exp() if bounded else self.grad


def _forces(
    tile: Tensor,
    block: Block,
    row: _Force,
    column: _Force | None,
    scratch: Tensor,
    second: Tensor,
) -> Tensor:
    """dL / ds of a tile, in ``scratch``: a kept tile must serve another backward pass."""
    out = view(scratch, block)
    weight = row.weight[block.rows, None]
    if row.bounded:
        if column is None:
            return torch.mul(tile, weight, out=out)
        return torch.add(weight, column.weight[block.columns], out=out).mul_(tile)
    torch.sub(tile, row.log[block.rows, None], out=out).exp_().mul_(weight)
    if column is not None:
        other = torch.sub(tile, column.log[block.columns], out=view(second, block))
        out.addcmul_(other.exp_(), column.weight[block.columns])
    return out


def _twice(ctx: Any, grads: tuple[Tensor, ...]) -> list[Tensor | None]:
    """The gradient as a differentiable function, from the stored matrix: for second derivatives."""
    query, key, scale, row_id, column_id, *_ = ctx.saved_tensors
    scores = query @ (query if ctx.triangle else key).T * scale
    if row_id is None:
        excluded = torch.eye(*scores.shape, dtype=torch.bool, device=scores.device)
    else:
        excluded = row_id[:, None] == column_id
    scores = scores.masked_fill(excluded, -torch.inf)
    outputs = [scores.logsumexp(1), scores.logsumexp(0)][: len(grads)]
    inputs = [query, None if ctx.triangle else key, scale]
    wanted = [
        x if x is not None and needed else None
        for x, needed in zip(inputs, ctx.needs_input_grad[:3], strict=True)
    ]
    found = iter(
        torch.autograd.grad(outputs, [x for x in wanted if x is not None], grads, create_graph=True)
    )
    return [None if x is None else next(found) for x in wanted]
