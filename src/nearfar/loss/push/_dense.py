"""The dense backend and reference: the formula, with the matrix of similarities stored.

Plain differentiable torch, so it is also what second derivatives, transforms and the compiler use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nearfar.loss._numbers import exact
from nearfar.loss.push._game import Game


def logits(game: Game) -> Tensor:
    """s_ij = scale q_i . k_j + b_ij, (N, M), -inf where key j is left out of query i's crowd."""
    query, key, crowd = game.query, game.keys, game.crowd
    with exact(query):
        similarity = query @ key.transpose(-2, -1)
        scores = similarity * game.scale
    if crowd.bias is not None:
        scores = scores + crowd.bias
    out = crowd.left_out_grid(len(query), len(key), query.device)
    if crowd.ceiling is not None:
        above = similarity > crowd.ceiling[:, None]
        out = above if out is None else out | above
    return scores if out is None else scores.masked_fill(out, -torch.inf)


def push(game: Game) -> tuple[Tensor, Tensor | None]:
    """Logsumexp along rows and, for both directions, along columns; -inf for an empty crowd."""
    scores = logits(game)
    return lse(scores, 1), lse(scores, 0) if game.both else None


def lse(scores: Tensor, dim: int) -> Tensor:
    """Logsumexp; where there is nothing but -inf there is no gradient to give, instead of NaN."""
    if scores.shape[dim] == 0:
        return scores.logsumexp(dim)
    empty = (scores == -torch.inf).all(dim, keepdim=True)
    log: Tensor = scores.masked_fill(empty, 0.0).logsumexp(dim)
    return log.masked_fill(empty.squeeze(dim), -torch.inf)


def gradients(
    again: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor | None],
    grads: Sequence[Tensor],
) -> list[Tensor | None]:
    """Gradients of ``again(*inputs)`` that can be differentiated again; None where none is wanted.

    They can also be told for many incoming gradients at once (``is_grads_batched``).
    """
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        # Each by a name of its own, where its gradient stops: a key may be made of its query, whose
        # gradient through it is taken further down.
        own = [x if x is None else x.view_as(x) for x in inputs]
        wanted = [x for x in own if x is not None and x.requires_grad]
        found = iter(torch.autograd.grad(again(*own), wanted, grads, create_graph=twice))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]
