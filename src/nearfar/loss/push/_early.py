"""One way: the gradient is taken in the forward pass.

When a stripe of rows has been summed, its loss is known, and its gradient up to the one number that
comes in from outside. So no tile is computed twice: 3 matrix products, at the memory of one stripe.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._check import many
from nearfar.loss._numbers import FAINT, exact
from nearfar.loss.push import _dense
from nearfar.loss.push._blocks import Blocks
from nearfar.loss.push._choose import Backend, choose
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._partners import partners
from nearfar.loss.push._passes import passes_over
from nearfar.loss.push._pull import add_pull, pull
from nearfar.loss.push._range import LOG2E, LOWEST, bounded, shift_of
from nearfar.loss.push._tiles import Tiles

# Rows and bytes of a stripe, at most. Fewer rows make keys' gradients slow: these come and go from
# memory once a stripe.
ROWS, STRIPE = 1024, 128 * 2**20
# A stripe whose losses are all below so many times what is too small to count is left to `push`,
# which compares them with the largest.
_TIMES = 2.0**40


class _UnderflowError(ArithmeticError):
    """Sums or forces lose what counts, or a crowd is empty: the other way does it, or says so."""


def contrast_sum(
    game: Game, offset: Tensor | None, backend: Backend, *, decoupled: bool
) -> Tensor | None:
    """sum_i log(1 + exp(crowd_i - positive_i)), 0-dim; decoupled, sum_i crowd_i - positive_i.

    Args:
        game: One way, with a partner for each query: what `push_pull` would give for it.
        offset: (N,) added to the positives' logits.
        backend: Who computes.
        decoupled: The positives leave the logarithm.

    Returns:
        None where it takes `push`: another backend, logits out of range, a crowd that is empty.
    """
    if game.both or choose(game, backend) != "tiled":
        return None
    try:
        total: Tensor = _Early.apply(game.query, game.key, game.scale, offset, game, decoupled)  # type: ignore[no-untyped-call]
    except _UnderflowError:
        return None
    return total


class _Early(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        scale: Tensor,
        offset: Tensor | None,
        game: Game,
        decoupled: bool,
    ) -> Any:
        with exact(query):
            game = bounded(game)
            total, *ctx.found = _stripes(game, offset, decoupled, ctx.needs_input_grad)
        ctx.rules, ctx.decoupled = game.rules(), decoupled
        ctx.save_for_backward(query, key, scale, offset)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, offset = ctx.saved_tensors
        if torch.is_grad_enabled() or many(grad):
            again = partial(_stored, decoupled=ctx.decoupled, **ctx.rules)
            inputs = (query, key, scale, offset)
            return *_dense.gradients(again, inputs, [grad]), None, None
        # What was found is used up, in place, by one backward pass; another finds it again.
        found, ctx.found = ctx.found, None
        with exact(query):
            if found is None:
                game = Game(query=query, key=key, scale=scale, **ctx.rules)
                _, *found = _stripes(game, offset, ctx.decoupled, ctx.needs_input_grad)
            grad_query, grad_key, grad_offset = (x if x is None else x.mul_(grad) for x in found)
            grad_scale = None
            if ctx.needs_input_grad[2]:
                assert grad_query is not None
                grad_scale = partners(query, grad_query).sum() / scale
        if offset is None:
            grad_offset = None
        return grad_query, grad_key, grad_scale, grad_offset, None, None


def _stored(
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    offset: Tensor | None,
    *,
    decoupled: bool,
    **rules: Any,
) -> list[Tensor]:
    game = Game(query=query, key=key, scale=scale, **rules)
    crowd, _ = _dense.push(game)
    gap = crowd - _positive(game, offset)
    return [(gap if decoupled else softplus(gap, threshold=40)).sum()]


def _positive(game: Game, offset: Tensor | None) -> Tensor:
    own = pull(game)
    assert own is not None
    return own if offset is None else own + offset


def _stripes(
    game: Game, offset: Tensor | None, decoupled: bool, needs: tuple[bool, ...]
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """The sum, and its gradients by query, key and the positives' logits.

    Args:
        game: Who plays.
        offset: (N,) added to the positives' logits.
        decoupled: The positives leave the logarithm.
        needs: Which of query, key and scale want gradients.
    """
    needs_query, needs_key = needs[0] or needs[2], needs[1]
    positive = _positive(game, offset)
    shift, lowest = shift_of(game), 2.0 ** LOWEST[game.query.dtype]
    width = max(1, len(game.keys))
    size = 2 if game.bf16 else game.query.element_size()
    height = max(1, min(ROWS, STRIPE // (size * width)))
    tiles = Tiles(game, shift, Blocks(game, height, width))
    gradients = Gradients(
        game, tiles, factor=game.scale.item(), needs_query=needs_query, needs_key=needs_key
    )
    sums, share = positive.new_zeros(2, len(positive))
    own = positive - shift / LOG2E
    # What stands beside the sum in a row's logarithm; not nothing, for who has no crowd.
    beside = torch.zeros_like(own) if decoupled else own.exp()
    beside.clamp_min_(torch.finfo(own.dtype).tiny)
    passes = passes_over(tiles)
    crowds = passes.parts(lambda block: sums[block.rows])
    for block in tiles:
        rows, crowd = block.rows, sums[block.rows]
        tile = passes.exponentials(block, passes.narrow[block], crowds[block])
        if (shift or game.crowd.picky) and not bool((crowd >= lowest).all()):
            raise _UnderflowError
        # Little is done here: a stripe has filled the caches, and small operations find nothing.
        factor = torch.reciprocal(crowd + beside[rows], out=share[rows])
        if tiles.steep:
            if (factor * crowd).amax().item() < _TIMES * FAINT[crowd.dtype]:
                raise _UnderflowError
            gradients.add(block, passes.forces(block, tile, factor, None))
        else:
            # A row's factor goes to its query, which is smaller than its tiles.
            queries = tiles.lying(block)
            queries = queries * factor.to(queries.dtype)
            gradients.add(block, tiles.narrow[block], queries)
    if not tiles.steep and gradients.query is not None:
        gradients.query *= share[:, None]
    gap = sums.log() - own
    total = (gap if decoupled else softplus(gap, threshold=40)).sum()
    grad_positive = torch.full_like(gap, -1.0) if decoupled else gap.sigmoid_().neg_()
    grad_query, grad_key = gradients.found()
    add_pull(game, grad_positive, grad_query, grad_key)
    return total, grad_query, grad_key, grad_positive
