"""Row i of the keys is the positive of query i."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._contrast import contrast, joined
from nearfar.loss._negatives import Explicit, Sides, estimated
from nearfar.loss._shard import Shard
from nearfar.loss.push import Backend, Game, partners, pull


def one_positive(
    game: Game,
    shard: Shard,
    explicit: Explicit | None,
    backend: Backend,
    *,
    in_batch: bool,
    decoupled: bool,
    margin: float,
    similarity_margin: float | None,
    hardness: float,
    tau_plus: float,
    reduction: str,
) -> Tensor:
    """Push away from the crowd, pull towards the one positive; options as in `info_nce`."""
    game = replace(game, partners=slice(0, len(game.query)))
    offset = _offset(game, shard, margin)
    if similarity_margin is not None:
        ceiling = _similarity(game) + similarity_margin
        game = replace(game, crowd=replace(game.crowd, ceiling=ceiling))
    sides: Sides | None = None
    if in_batch and explicit is None and not (_two(game) or hardness or tau_plus):
        loss = shard.contrast(game, offset, backend, decoupled=decoupled, reduction=reduction)
        if loss is not None:
            return loss
        rows, columns, own = shard.push_pull(game, backend)
        sides = rows, columns
    else:
        own = pull(game)
    assert own is not None
    positive = own if offset is None else own + offset

    def crowd(factor: float | None) -> Sides:
        """Logsumexp of the negatives, of logits times a factor; None: how many there are."""
        at = game.blank() if factor is None else replace(game, scale=game.scale * factor)
        rows, columns = _in_batch(at, shard, backend) if in_batch else (None, None)
        parts = [] if rows is None else [rows]
        if explicit is not None:
            parts.append((explicit.blank() if factor is None else explicit).push(at, backend))
        return joined(*parts), columns

    if hardness or tau_plus:
        sides = estimated(crowd, positive, game.scale, hardness=hardness, tau_plus=tau_plus)
    elif sides is None:
        sides = crowd(1.0)
    crowds = [side for side in sides if side is not None]
    # Decoupled, who is left alone has no loss; otherwise, a margin has told why.
    if (similarity_margin is None or decoupled) and game.crowd.picky:
        for side in crowds:
            check.somebody(side)
    elif game.crowd.picky and shard.ranks.alone and check.anybody_alone(crowds):
        # Whom the margin has left alone has won; whom ids or the mask have, never played.
        for count in crowd(None):
            if count is not None:
                check.somebody(count)
    losses = [contrast(side, positive, decoupled=decoupled) for side in crowds]
    loss = losses[0] if len(losses) == 1 else (losses[0] + losses[1]) / 2
    return shard.reduce(loss, reduction)


def _similarity(game: Game) -> Tensor:
    """Of the positives, and as much more as rounding may make of a key that is equal to one."""
    query, key = game.query.detach(), game.keys.detach()
    lengths: Tensor = query.norm(dim=1) * key.norm(dim=1)
    return partners(query, key) + 8 * torch.finfo(query.dtype).eps * lengths


def _offset(game: Game, shard: Shard, margin: float) -> Tensor | None:
    """What is added to the positives' logits."""
    offset = game.scale.expand(len(game.query)) * -margin if margin else None
    if game.crowd.bias is None:
        return offset
    own = game.crowd.bias.diagonal(shard.first)
    check.may_stand(own)
    return own if offset is None else own + offset


def _in_batch(game: Game, shard: Shard, backend: Backend) -> Sides:
    if _two(game):
        there, back = replace(game, both=False), game.turned()
        return shard.push(there, backend)[0], shard.push(back, backend)[0]
    return shard.push(game, backend)


def _two(game: Game) -> bool:
    """Each side has ceilings of its own: two games."""
    return game.both and game.crowd.ceiling is not None
