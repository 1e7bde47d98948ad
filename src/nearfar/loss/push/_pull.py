"""The pull: logits of those who belong together."""

from __future__ import annotations

from torch import Tensor

from nearfar.loss.loops import ready
from nearfar.loss.push._cohorts import Cohorts, Gathered
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import upright
from nearfar.loss.push._partners import partners


def gathered_by(game: Game) -> Gathered | None:
    """What `pull` and `add_pull` ask of cohorts, each, unless they are told."""
    partners = game.partners
    return partners.gather(game.query, game.key) if isinstance(partners, Cohorts) else None


def pull(game: Game, gathered: Gathered | None = None) -> Tensor | None:
    """The logits of the game's partners, (P,), of cohorts their sums, (L,); None if it has none."""
    if game.partners is None:
        return None
    if isinstance(game.partners, Cohorts):
        gathered = gathered or game.partners.gather(game.query, game.key)
        return gathered.similarity * game.scale
    if game.own is not None:
        return game.own * game.scale
    key = game.keys[game.partners]
    return partners(game.query[: len(key)], key) * game.scale


def add_pull(
    game: Game,
    grad: Tensor,
    grad_query: Tensor | None,
    grad_key: Tensor | None,
    share: Tensor | None = None,
    gathered: Gathered | None = None,
    lying: Tensor | None = None,
) -> None:
    """Add the partners' part to gradients of queries and keys, where they are wanted.

    Args:
        game: Whose.
        grad: (P,) or (L,) what comes in for what `pull` has told.
        grad_query: (N, D), to be added to; of a triangle, keys are queries.
        grad_key: (M, D).
        share: (N,) what queries' gradients are multiplied by before; not with cohorts.
        gathered: What `gathered_by` has told; None: nobody has asked.
        lying: (D, M) what is still to be put `upright`; None: nothing.
    """
    assert game.partners is not None
    target = grad_query if game.triangle else grad_key
    if lying is not None and not _at_once(game, len(grad), target):
        upright(lying, grad_query, grad_key)
        lying = None
    if isinstance(game.partners, Cohorts):
        gathered = gathered or game.partners.gather(game.query, game.key)
        weight = grad * game.scale
        game.partners.add(weight, game.query, game.key, grad_query, grad_key, gathered, lying=lying)
        return
    weight = grad * game.scale
    query, key = game.query[: len(grad)], game.keys[game.partners]
    if grad_query is not None:
        part = lying[:, : len(grad)] if lying is not None and game.triangle else None
        _add(grad_query[: len(grad)], weight, key, share, part)
    if target is not None:
        part = None if lying is None else lying[:, game.partners]
        fresh = part is not None and not game.triangle
        _add(target[game.partners], weight, query, None, part, fresh=fresh)


def _at_once(game: Game, count: int, target: Tensor | None) -> bool:
    """Loops go over all rows of the target, and put upright what they meet."""
    if target is None:
        return False
    if isinstance(game.partners, Cohorts):
        return game.triangle and ready(target, len(target) ** 2)
    return count * (1 + game.triangle) == len(target) and ready(target, count**2)


def _add(
    to: Tensor,
    weight: Tensor,
    other: Tensor,
    share: Tensor | None,
    lying: Tensor | None,
    *,
    fresh: bool = False,
) -> None:
    """``to_i = share_i to_i + weight_i other_i + lying_.i``."""
    if ready(to, len(to) ** 2):
        from nearfar.loss.loops import pulls

        pulls.draw(to, share, weight, other.contiguous(), lying, fresh=fresh)
        return
    if share is not None:
        to *= share.unsqueeze(1)
    to.addcmul_(other, weight.unsqueeze(1))
