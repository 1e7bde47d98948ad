"""The gradient is taken in the forward pass, where a loss is a sum over rows.

Once rows have been summed, their losses are known, and their gradients up to the one number that
comes in from outside. So nothing is kept for a backward pass but what it gives back: one way
(`_stripes`), no tile either; both ways, and all against all, (`_sides`) no tile for longer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact
from nearfar.loss.push import _dense
from nearfar.loss.push._choose import Backend, choose
from nearfar.loss.push._game import Game
from nearfar.loss.push._losses import Found, Losses, UnderflowError
from nearfar.loss.push._partners import partners
from nearfar.loss.push._range import bounded, steep
from nearfar.loss.push._sides import sides
from nearfar.loss.push._stripes import stripes
from nearfar.loss.push._sums import fit


def contrast_at_once(
    game: Game, offset: Tensor | None, backend: Backend, *, decoupled: bool, mean: bool
) -> Tensor | None:
    """sum_i log(1 + exp(crowd_i - positive_i)), 0-dim; decoupled, sum_i crowd_i - positive_i.

    Args:
        game: With partners for all; what `push_pull` would give for it. Both ways, it is the mean
            of both; all against all, partners are each other's, or of cohorts, where those who have
            none are left out.
        offset: (N,) added to the positives' logits.
        backend: Who computes.
        decoupled: The positives leave the logarithm.
        mean: Over i, in place of the sum.

    Returns:
        None where it takes `push`: another backend, logits out of range, a crowd that is empty.
    """
    if choose(game, backend) != "tiled":
        return None
    inputs, options = (game.query, game.key, game.scale, offset), (decoupled, mean)
    try:
        loss: Tensor = _Early.apply(*inputs, game, *options)  # type: ignore[no-untyped-call]
    except UnderflowError:
        return None
    return loss


class _Early(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor | None,
        scale: Tensor,
        offset: Tensor | None,
        game: Game,
        decoupled: bool,
        mean: bool,
    ) -> Any:
        with exact(query):
            game, ctx.options = bounded(game), {"decoupled": decoupled, "mean": mean}
            losses = Losses(game, offset, **ctx.options)
            loss, *ctx.found = _find(game, losses, ctx.needs_input_grad)
        ctx.rules = game.rules()
        ctx.save_for_backward(query, key, scale, offset)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, offset = ctx.saved_tensors
        if torch.is_grad_enabled() or many(grad):
            again = partial(_stored, options=ctx.options, **ctx.rules)
            inputs = (query, key, scale, offset)
            return *_dense.gradients(again, inputs, [grad]), None, None, None
        # What was found is used up, in place, by one backward pass; another finds it again.
        found, ctx.found = ctx.found, None
        with exact(query):
            if found is None:
                game = Game(query=query, key=key, scale=scale, **ctx.rules)
                losses = Losses(game, offset, **ctx.options)
                _, *found = _find(game, losses, ctx.needs_input_grad)
            if grad.item() != 1:
                found = [x if x is None else x.mul_(grad) for x in found]
            grad_query, grad_key, grad_offset = found
            grad_scale = None
            if ctx.needs_input_grad[2]:
                assert grad_query is not None
                grad_scale = partners(query, grad_query).sum() / scale
                if key is None:
                    grad_scale /= 2
        if offset is None:
            grad_offset = None
        return grad_query, grad_key, grad_scale, grad_offset, None, None, None


def _find(game: Game, losses: Losses, needs: tuple[bool, ...]) -> Found:
    # What is too small to count is so beside the largest, which one stripe does not know.
    at_once = game.both or game.triangle or (steep(game) and fit(game))
    find = sides if at_once else stripes
    return find(game, losses, needs_query=needs[0] or needs[2], needs_key=needs[1])


def _stored(
    query: Tensor,
    key: Tensor | None,
    scale: Tensor,
    offset: Tensor | None,
    *,
    options: dict[str, bool],
    **rules: Any,
) -> list[Tensor]:
    game = Game(query=query, key=key, scale=scale, **rules)
    logs = [log for log in _dense.push(game) if log is not None]
    return [Losses(game, offset, **options).loss(logs)]
