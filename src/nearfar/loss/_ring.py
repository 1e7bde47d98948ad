"""The ring: every rank's keys come by in turn, and one remote block at a time is in memory.

The next block is under way while the present one is worked on. The backward pass goes round once
more; the gradient of a block goes straight home to the rank that holds its keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss._numbers import measured
from nearfar.loss._ranks import Ranks
from nearfar.loss.push import Backend, Game, choose, engine, sigmoid_pass


def ring_push(
    game: Game, ranks: Ranks, counts: list[int], backend: Backend
) -> tuple[Tensor, Tensor | None]:
    """As ``push`` with all ranks' keys, which are never gathered.

    Args:
        game: Our queries and our keys; the columns of its crowd are all ranks' keys.
        ranks: Who plays.
        counts: How many rows each rank holds.
        backend: Who computes; ``dense`` computes by tiles here.

    Returns:
        (N,) our rows, and (N_all,) what our queries add to each key's logsumexp, or None.
    """
    name = choose(game, backend)
    computing = engine("tiled" if name == "dense" else name)
    logs = _RingPush.apply(game.query, game.key, game.scale, game, ranks, counts, computing)  # type: ignore[no-untyped-call]
    return logs if game.both else (logs, None)


class _RingPush(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor | None,
        scale: Tensor,
        game: Game,
        ranks: Ranks,
        counts: list[int],
        engine: Any,
    ) -> Any:
        rows = torch.full_like(query[:, 0], -torch.inf)
        columns = query.new_empty(sum(counts))
        for at, block in _round(game.keys, ranks, counts):
            row, column, _ = engine.forward(_against(game, block, at), keep=False)
            rows = torch.logaddexp(rows, row)
            if column is not None:
                columns[at] = column
        ctx.rules, ctx.engine, ctx.ranks, ctx.counts = game.rules(), engine, ranks, counts
        ctx.save_for_backward(query, key, scale, rows, columns)
        return (rows, columns) if game.both else rows

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        _only_first()
        query, key, scale, rows, columns = ctx.saved_tensors
        game = Game(query=query, key=key, scale=scale, **ctx.rules)
        grad_query, home = torch.zeros_like(query), _Home(game.keys, ctx.ranks, ctx.counts)
        factor, grads = measured(*grads)
        for at, block in _round(game.keys, ctx.ranks, ctx.counts):
            part_query, part_key = ctx.engine.backward(
                _against(game, block, at),
                (rows, grads[0]),
                (columns[at], grads[1][at]) if game.both else None,
                None,
                factor,
            )
            grad_query += part_query
            home.send(part_key)
        grad_key = home.total()
        grad_scale = torch.linalg.vecdot(query, grad_query).sum() / scale
        if key is None:
            return grad_query + grad_key, None, grad_scale, None, None, None, None
        return grad_query, grad_key, grad_scale, None, None, None, None


def ring_sigmoid_push(game: Game, bias: Tensor, ranks: Ranks, counts: list[int]) -> Tensor:
    """As ``sigmoid_sum`` with all ranks' keys, which are never gathered; one round does it all."""
    total: Tensor = _RingSigmoid.apply(game.query, game.keys, game.scale, bias, game, ranks, counts)  # type: ignore[no-untyped-call]
    return total


class _RingSigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        scale: Tensor,
        bias: Tensor,
        game: Game,
        ranks: Ranks,
        counts: list[int],
    ) -> Any:
        gradients = any(ctx.needs_input_grad)
        total, grad_bias = torch.zeros_like(scale), torch.zeros_like(bias)
        grad_query, home = torch.zeros_like(query), _Home(key, ranks, counts)
        for at, block in _round(key, ranks, counts):
            found = sigmoid_pass(_against(game, block, at), bias, gradients=gradients)
            total += found.total
            if found.query is not None and found.key is not None:
                grad_query += found.query
                grad_bias += found.bias
                home.send(found.key)
        grad_scale = torch.linalg.vecdot(query, grad_query).sum() / scale
        ctx.save_for_backward(grad_query, home.total(), grad_scale, grad_bias)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        _only_first()
        # What came home was found with a gradient of one, as all ranks' totals have.
        return *(grad * found for found in ctx.saved_tensors), None, None, None


def _only_first() -> None:
    if torch.is_grad_enabled():
        raise NearfarError(
            "group='ring' has no second derivatives (create_graph=True): other ranks' keys have "
            "left. Wanted group='auto', which gathers them."
        )


def _against(game: Game, block: Tensor, at: slice) -> Game:
    """The game of our queries against one rank's keys."""
    rules = game.rules() | {"crowd": game.crowd.columns(at)}
    return Game(query=game.query, key=block, scale=game.scale, **rules)


def _round(key: Tensor, ranks: Ranks, counts: list[int]) -> Iterator[tuple[slice, Tensor]]:
    """Each rank's keys, our own first, and their place among all keys."""
    block = key.detach().contiguous()
    for step in range(ranks.size):
        owner = (ranks.rank - step) % ranks.size
        coming, under_way = block, []
        if step < ranks.size - 1:
            coming = key.new_empty(counts[(owner - 1) % ranks.size], *key.shape[1:])
            under_way = _transfer(ranks, block, ranks.rank + 1, coming, ranks.rank - 1)
        first = sum(counts[:owner])
        yield slice(first, first + counts[owner]), block
        for work in under_way:
            work.wait()
        block = coming


class _Home:
    """Gradients of blocks go home, step by step, and are added up there."""

    def __init__(self, key: Tensor, ranks: Ranks, counts: list[int]) -> None:
        self.ranks, self.counts, self.step = ranks, counts, 0
        self.sum = torch.zeros_like(key)
        self.under_way: list[dist.Work] = []
        self.coming: Tensor | None = None
        self.going: Tensor | None = None

    def send(self, part: Tensor) -> None:
        """The gradient of the block of this step."""
        self._arrive()
        if self.step == 0:
            self.sum += part
        else:
            # Held until it has arrived: the transfer reads it.
            self.going, self.coming = part.contiguous(), torch.empty_like(self.sum)
            to, source = self.ranks.rank - self.step, self.ranks.rank + self.step
            self.under_way = _transfer(self.ranks, self.going, to, self.coming, source)
        self.step += 1

    def total(self) -> Tensor:
        """Everything that has come home."""
        self._arrive()
        return self.sum

    def _arrive(self) -> None:
        for work in self.under_way:
            work.wait()
        if self.coming is not None:
            self.sum += self.coming
        self.under_way, self.coming = [], None


def _transfer(ranks: Ranks, x: Tensor, to: int, out: Tensor, source: int) -> list[dist.Work]:
    """Begin to send ``x`` and to receive ``out``."""
    to, source = ranks.peer(to), ranks.peer(source)
    operations = [
        dist.P2POp(dist.isend, x, to, ranks.group),
        dist.P2POp(dist.irecv, out, source, ranks.group),
    ]
    works: list[dist.Work] = dist.batch_isend_irecv(operations)
    return works
