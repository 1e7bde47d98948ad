"""Every pair on its own, for SigLIP: softplus(s + b) of strangers, softplus(-s - b) of partners.

The gradient of a sum is known as soon as a tile is, so one pass computes both: 3 matrix products.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.errors import NearfarError
from nearfar.loss._check import many, traced
from nearfar.loss._numbers import exact
from nearfar.loss.push import _dense
from nearfar.loss.push._choose import Backend, choose
from nearfar.loss.push._fused import passes_over
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._partners import partners
from nearfar.loss.push._pull import add_pull, pull
from nearfar.loss.push._range import LOG2E, bounded, shift_of
from nearfar.loss.push._tiles import Tiles


class Found(NamedTuple):
    """The sum, and its gradients."""

    total: Tensor
    query: Tensor | None
    key: Tensor | None
    bias: Tensor


def sigmoid_sum(game: Game, bias: Tensor, backend: Backend = "auto") -> Tensor:
    """Over the crowds of all queries, and the game's partners if it has some, 0-dim.

    Args:
        game: Who plays.
        bias: 0-dim.
        backend: ``tiled`` or ``dense``, which also serves transforms.

    Raises:
        NearfarError: ``triton``, which has no kernel for this.
    """
    if backend == "triton":
        raise NearfarError(
            "backend='triton' has no kernel for the sigmoid loss; wanted 'tiled', which runs on "
            "every device, or 'auto'."
        )
    if backend == "dense" or (backend == "auto" and traced()):
        return _stored(game.query, game.keys, game.scale, bias, **game.rules())[0]
    choose(game, "tiled")
    total: Tensor = _Sigmoid.apply(game.query, game.keys, game.scale, bias, game)  # type: ignore[no-untyped-call]
    return total


def sigmoid_pass(game: Game, bias: Tensor, *, gradients: bool) -> Found:
    """The sum over all tiles and, if asked, its gradients."""
    game, offset = bounded(game), bias.item()
    tiles = Tiles(game, 0.0)
    total, grad_bias = game.query.new_zeros(2, dtype=torch.float64)
    found = Gradients(
        game, tiles, factor=game.scale.item(), needs_query=gradients, needs_key=gradients
    )
    # exp2 must not overflow; the slower functions never do.
    spread = shift_of(game) + max(0.0, offset) * LOG2E
    passes = passes_over(tiles)
    for block in tiles:
        loss, each, force = passes.sigmoids(block, offset * LOG2E, small=spread < 20)
        total += loss
        grad_bias += each
        found.add(block, force)
        del force  # before there is another
    grad_query, grad_key = found.found()
    own = pull(game)
    if own is not None:
        own += bias
        total += softplus(-own, threshold=40).sum()
        grad_own = torch.sigmoid(-own).neg_()
        grad_bias += grad_own.sum()
        add_pull(game, grad_own, grad_query, grad_key)
    return Found(total.to(game.query.dtype), grad_query, grad_key, grad_bias.to(bias.dtype))


def _stored(query: Tensor, key: Tensor, scale: Tensor, bias: Tensor, **rules: Any) -> list[Tensor]:
    game = Game(query=query, key=key, scale=scale, **rules)
    total, own = softplus(_dense.logits(game) + bias, threshold=40).sum(), pull(game)
    return [total if own is None else total + softplus(-own - bias, threshold=40).sum()]


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, scale: Tensor, bias: Tensor, game: Game
    ) -> Any:
        with exact(query):
            total, *ctx.found = sigmoid_pass(game, bias, gradients=any(ctx.needs_input_grad))
        ctx.rules = game.rules()
        ctx.save_for_backward(query, key, scale, bias)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, bias = ctx.saved_tensors
        if torch.is_grad_enabled() or many(grad):
            again = partial(_stored, **ctx.rules)
            return *_dense.gradients(again, (query, key, scale, bias), [grad]), None
        # What was found is used up, in place, by one backward pass; another finds it again.
        found, ctx.found = ctx.found, None
        with exact(query):
            if found is None:
                game = Game(query=query, key=key, scale=scale, **ctx.rules)
                _, *found = sigmoid_pass(game, bias, gradients=True)
            grad_query, grad_key, grad_bias = (x.mul_(grad) for x in found)
            grad_scale = None
            if ctx.needs_input_grad[2]:
                grad_scale = partners(query, grad_query).sum() / scale
        return grad_query, grad_key, grad_scale, grad_bias, None
