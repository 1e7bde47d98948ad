"""The primitive and its gradients, first and second."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact, measured
from nearfar.loss.push import _dense, _tiled
from nearfar.loss.push._choose import Backend, choose
from nearfar.loss.push._game import Game
from nearfar.loss.push._partners import partners
from nearfar.loss.push._pull import add_pull, pull
from nearfar.loss.push._range import bounded


def push(game: Game, backend: Backend = "auto") -> tuple[Tensor, Tensor | None]:
    """log sum_j exp(s_ij) over the crowd of each query and, if the game asks, of each key.

    Returns:
        (N,) and (M,) or None; -inf where the crowd is empty.
    """
    rows, columns, _ = push_pull(replace(game, partners=None), backend)
    return rows, columns


def push_pull(game: Game, backend: Backend = "auto") -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As `push`; and what `pull` says of the game's partners."""
    if game.triangle and game.both:
        rows, _, own = push_pull(replace(game, both=False), backend)
        return rows, rows, own
    name = choose(game, backend)
    if name == "dense":
        return *_dense.push(game), pull(game)
    rows, columns, own = _Push.apply(game.query, game.key, game.scale, game, engine(name))  # type: ignore[no-untyped-call]
    return rows, columns, own


def engine(name: Backend) -> Any:
    """The module that computes: it has ``forward`` and ``backward``."""
    if name == "triton":
        from nearfar.loss.push import _triton

        return _triton
    return _tiled


class _Push(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor | None, scale: Tensor, game: Game, engine: Any
    ) -> Any:
        with exact(query):
            if engine is _tiled:
                game = bounded(game)
            own = pull(game)
            rows, columns, kept = engine.forward(game, keep=any(ctx.needs_input_grad))
        # Tiles serve one backward pass; another computes them again.
        ctx.engine, ctx.rules, ctx.kept = engine, game.rules(), kept
        ctx.save_for_backward(query, key, scale, rows, columns)
        return rows, columns, own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        query, key, scale, rows, columns = ctx.saved_tensors
        sides = [grad for grad in grads[:2] if grad is not None]
        if torch.is_grad_enabled() or many(sides[0]):
            again = partial(_logs, **ctx.rules)
            given = [grad for grad in grads if grad is not None]
            return *_dense.gradients(again, (query, key, scale), given), None, None
        game = Game(query=query, key=key, scale=scale, **ctx.rules)
        kept, ctx.kept = ctx.kept, None
        needs_query, needs_key, needs_scale = ctx.needs_input_grad[:3]
        with exact(query):
            factor, (from_rows, *from_columns) = measured(*sides)
            grad_query, grad_key = ctx.engine.backward(
                game,
                (rows, from_rows),
                (columns, from_columns[0]) if from_columns else None,
                kept,
                factor,
                needs_query=needs_query or needs_scale,
                needs_key=needs_key,
            )
            if grads[2] is not None:
                add_pull(game, grads[2], grad_query, grad_key)
            grad_scale = None
            if needs_scale:
                grad_scale = partners(query, grad_query).sum() / scale
                if game.triangle:
                    grad_scale /= 2
        return grad_query if needs_query else None, grad_key, grad_scale, None, None


def _logs(query: Tensor, key: Tensor | None, scale: Tensor, **rules: Any) -> list[Tensor]:
    game = Game(query=query, key=key, scale=scale, **rules)
    return [found for found in (*_dense.push(game), pull(game)) if found is not None]
