"""The pull: logits of those who belong together."""

from __future__ import annotations

from torch import Tensor

from nearfar.loss.push._cohorts import Cohorts
from nearfar.loss.push._game import Game
from nearfar.loss.push._partners import partners


def pull(game: Game) -> Tensor | None:
    """The logits of the game's partners, (P,), of cohorts their sums, (L,); None if it has none."""
    if game.partners is None:
        return None
    if isinstance(game.partners, Cohorts):
        return game.partners.similarity(game.query, game.keys) * game.scale
    key = game.keys[game.partners]
    return partners(game.query[: len(key)], key) * game.scale


def add_pull(game: Game, grad: Tensor, grad_query: Tensor | None, grad_key: Tensor | None) -> None:
    """Add the partners' part to gradients of queries and keys, where they are wanted.

    Args:
        game: Whose.
        grad: (P,) or (L,) what comes in for what `pull` has told.
        grad_query: (N, D), to be added to; of a triangle, keys are queries.
        grad_key: (M, D).
    """
    assert game.partners is not None
    if isinstance(game.partners, Cohorts):
        key = None if game.triangle else game.keys
        game.partners.add(grad * game.scale, game.query, key, grad_query, grad_key)
        return
    weight = (grad * game.scale).unsqueeze(1)
    query, key = game.query[: len(grad)], game.keys[game.partners]
    if grad_query is not None:
        grad_query[: len(grad)].addcmul_(key, weight)
    target = grad_query if game.triangle else grad_key
    if target is not None:
        target[game.partners].addcmul_(query, weight)
