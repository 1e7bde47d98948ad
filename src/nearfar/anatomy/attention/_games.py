"""Every head of every item is a game of its own: few large ones, or many small ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nearfar.loss._check import traced
from nearfar.loss._contrast import contrast
from nearfar.loss.push import Crowd, Game, Pairs, gradients, partners, push

# Logits of a game: below it, a push of its own would be made of overhead.
LARGE = 128 * 128
# Logits that are stored at a time, those of one tile.
MOST = 1024 * 1024

Masks = list[Tensor] | None
# Of queries, keys and scale.
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def play(
    query: Tensor, key: Tensor, place: Tensor, scale: Tensor, masks: Masks, group: int
) -> Tensor:
    """-log softmax_j(scale q . k_j) at each query's place, (games, queries).

    Args:
        query: (games, queries, dim).
        key: (games / group, keys, dim).
        place: (games, queries) of the right key.
        scale: 0-dim, 1 / temperature.
        masks: For each game (queries, keys) bool, True where a key may be looked at.
        group: How many consecutive games have the same keys.
    """
    entries = query.shape[1] * key.shape[1]
    parts: list[tuple[Loss, Tensor, Tensor]] = []
    # Cut once: a view of each game would cost a gradient as large as all of them.
    if entries > LARGE:
        keys = key.unbind()
        for n, (q, p) in enumerate(zip(query.unbind(), place, strict=True)):
            one = partial(_game, place=p, mask=None if masks is None else masks[n])
            parts.append((one, q, keys[n // group]))
    else:
        count = MOST // entries
        key = key.repeat_interleave(group, 0) if group > 1 else key
        cut = [x.split(count) for x in (query, key, place)]  # type: ignore[no-untyped-call]
        for n, (q, k, p) in enumerate(zip(*cut, strict=True)):
            own = None if masks is None else masks[n * count : (n + 1) * count]
            parts.append((partial(_several, place=p, masks=own), q, k))
    if len(parts) == 1 or traced():
        return torch.cat([loss(q, k, scale).view(-1, place.shape[1]) for loss, q, k in parts])
    found = [_Again.apply(loss, q, k, scale) for loss, q, k in parts]  # type: ignore[no-untyped-call]
    return torch.cat([x.view(-1, place.shape[1]) for x in found])


class _Again(torch.autograd.Function):
    """Keep the inputs alone, and compute all again for the gradients."""

    @staticmethod
    def forward(ctx: Any, loss: Loss, query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
        ctx.loss = loss
        ctx.save_for_backward(query, key, scale)
        return loss(query, key, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *gradients(lambda *x: [ctx.loss(*x)], ctx.saved_tensors, [grad])


def _several(query: Tensor, key: Tensor, scale: Tensor, place: Tensor, masks: Masks) -> Tensor:
    """Small games side by side, which the dense backend plays as one, (n, queries)."""
    mask = None if masks is None else torch.stack(masks)
    games = torch.vmap(_game, (0, 0, None, 0, None if mask is None else 0))
    losses: Tensor = games(query, key, scale, place, mask)
    return losses


def _game(query: Tensor, key: Tensor, scale: Tensor, place: Tensor, mask: Tensor | None) -> Tensor:
    """One game's losses, (queries,)."""
    row = torch.arange(len(query), device=key.device)
    column = torch.arange(len(key), device=key.device)
    # By ids, so that every backend can play: a key's id is its place, a query's that of its target.
    crowd = Crowd(row_id=place, column_id=column, listed=Pairs(row, place), mask=mask)
    log, _ = push(Game(query=query, key=key, scale=scale, crowd=crowd))
    return contrast(log, partners(query, key[place]) * scale)
