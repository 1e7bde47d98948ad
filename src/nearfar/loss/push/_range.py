"""How far logits reach."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from nearfar.loss.loops import ready
from nearfar.loss.push._game import Game
from nearfar.loss.push._partners import partners

LOG2E = math.log2(math.e)
# Base 2: the highest logit after the shift (a million such still add up), and the lowest sum beside
# which what was lost to underflow does not count.
TOP = {torch.float32: 100.0, torch.float64: 900.0}
LOWEST = {torch.float32: -86.0, torch.float64: -900.0}
# Beyond logits of this size, which is a temperature below 0.05, some forces may be too small to
# count beside others. Up to it, factors may change places and nothing underflows.
STEEP = 20.5


def bounded(game: Game) -> Game:
    """The game, for whom it is known how high similarities are at most."""
    if game.highest is not None:
        return game
    rows = len(game.query)
    paired = game.partners == slice(0, rows) and not game.triangle and rows == len(game.keys)
    if not paired or not ready(game.query, rows**2):
        return replace(game, highest=_similarity(game))
    from nearfar.loss.loops.rows import meet

    # Both sides are gone over once, for partners' similarities, too.
    own = game.query.new_empty(rows)
    tops = meet(game.query.contiguous(), game.keys.contiguous(), own)
    return replace(game, highest=math.sqrt(tops[0]) * math.sqrt(tops[1]), own=own)


def highest(game: Game) -> float:
    """No base-2 logit is above this."""
    similarity = _similarity(game) if game.highest is None else game.highest
    bound = similarity * game.stretch * game.scale.item()
    if game.crowd.bias is not None and game.crowd.bias.numel():
        bound += max(0.0, float(game.crowd.bias.max()))
    return bound * LOG2E


def shift_of(game: Game) -> float:
    """What is taken from base-2 logits so that their exponentials can be summed."""
    return max(0.0, highest(game) - TOP[game.query.dtype])


def enough(game: Game, sums: Tensor, shift: float) -> bool:
    """Every sum of exponentials under a shift has somebody in it, and has lost nothing."""
    if not (shift or game.crowd.picky):
        # No logit is further below zero than the highest may be above it.
        return True
    return bool((sums >= 2.0 ** LOWEST[sums.dtype]).all())


def logarithm(sums: Tensor, shift: float) -> Tensor:
    """Natural, of sums of exponentials from which a shift was taken."""
    log = sums.log()
    return log + shift / LOG2E if shift else log


def steep(game: Game) -> bool:
    """Of the forces on one row, some may be too small to count beside others."""
    return game.crowd.bias is not None or highest(game) > STEEP * LOG2E


def _similarity(game: Game) -> float:
    """No q_i . k_j is above this."""
    sides = [game.query] if game.triangle else [game.query, game.keys]
    squares = [float(partners(x, x).amax()) if len(x) else 0.0 for x in sides]
    return math.sqrt(squares[0]) * math.sqrt(squares[-1])
