"""The pull: similarities of the few pairs that belong together, never of all."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact
from nearfar.loss.loops import ready
from nearfar.loss.push._game import Game


def partners(query: Tensor, key: Tensor) -> Tensor:
    """q_i . k_i, (..., N)."""
    if not torch.is_grad_enabled() and not many(query) and ready(query, len(query) ** 2):
        from nearfar.loss.loops import rows

        found = query.new_empty(query.shape[:-1])
        rows.dots(query.contiguous(), key.contiguous(), found.view(1, -1))
        return found
    with exact(query):
        similarity: Tensor = torch.linalg.vecdot(query, key)
    return similarity


def pull(game: Game) -> Tensor | None:
    """The logits of the game's partners, (P,); None if it has none."""
    if game.partners is None:
        return None
    key = game.keys[game.partners]
    return partners(game.query[: len(key)], key) * game.scale


def add_pull(game: Game, grad: Tensor, grad_query: Tensor | None, grad_key: Tensor | None) -> None:
    """Add the partners' part to gradients of queries and keys, where they are wanted.

    Args:
        game: Whose.
        grad: (P,) what comes in for their logits.
        grad_query: (N, D), to be added to; of a triangle, keys are queries.
        grad_key: (M, D).
    """
    assert game.partners is not None
    weight = (grad * game.scale).unsqueeze(1)
    query, key = game.query[: len(grad)], game.keys[game.partners]
    if grad_query is not None:
        grad_query[: len(grad)].addcmul_(key, weight)
    target = grad_query if game.triangle else grad_key
    if target is not None:
        target[game.partners].addcmul_(query, weight)
