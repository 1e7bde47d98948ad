"""Both ways, or all against all: forces are known when all tiles have been summed.

One way, too, where what is too small to count is so beside the largest of all rows.
"""

from __future__ import annotations

import math

import torch

from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._losses import Found, Losses, UnderflowError
from nearfar.loss.push._pull import add_pull
from nearfar.loss.push._range import enough, shift_of
from nearfar.loss.push._sums import Forces, Sums


def sides(game: Game, losses: Losses, *, needs_query: bool, needs_key: bool) -> Found:
    """A loss and its gradients.

    Args:
        game: Who plays.
        losses: What becomes of sums.
        needs_query: The queries' gradient is wanted.
        needs_key: The keys' is.

    Raises:
        UnderflowError: One shift does not serve all rows, or one has no crowd.
    """
    shift, wanted = shift_of(game), needs_query or needs_key
    if not math.isfinite(shift):
        raise UnderflowError
    sums = Sums(game, shift, keep=wanted)
    if not enough(game, sums.all, shift):
        raise UnderflowError
    weights, top = torch.empty_like(sums.all) if wanted else None, 1.0
    loss, grad = losses.of(sums.all, shift, weights)
    if weights is None:
        return Found(loss, None, None, grad)
    if sums.tiles.steep:
        # What is too small to count is so beside the largest.
        top = (weights * sums.all).amax().clamp_min(torch.finfo(weights.dtype).tiny).item()
        weights /= top
    rows = weights[: len(sums.rows)]
    columns = weights[len(rows) :] if game.both else rows if game.triangle else None
    force = Forces(sums.passes, rows, columns, sums.room)
    gradients = Gradients(
        game,
        sums.tiles,
        factor=top * losses.share * game.scale.item(),
        needs_query=needs_query,
        needs_key=needs_key,
    )
    for block in sums.tiles:
        gradients.add(block, force.of(block))
    grad_query, grad_key, lying = gradients.late()
    add_pull(game, grad, grad_query, grad_key, gathered=losses.gathered, lying=lying)
    return Found(loss, grad_query, grad_key, grad)
