"""Pull and push: the two forces on a query, as vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from nearfar.anatomy._players import Players, Who
from nearfar.loss import Temperature


@dataclass(frozen=True, kw_only=True)
class Forces:
    """Minus the gradient of each query's own loss is ``pull - push``.

    Attributes:
        pull: (N, D) k_+ / temperature, towards the partner.
        push: (N, D) sum_j p_j k_j / temperature over all candidates, away from where p looks.
    """

    pull: Tensor
    push: Tensor

    @property
    def gradient(self) -> Tensor:
        """dL_i / dq_i, (N, D)."""
        return self.push - self.pull

    @property
    def angle(self) -> Tensor:
        """Between pull and push, (N,) radians."""
        cosine = torch.nn.functional.cosine_similarity(self.pull, self.push, dim=1)
        return cosine.clamp(-1, 1).arccos()


@torch.no_grad()
def forces(
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor | Temperature,
    **who: Unpack[Who],
) -> Forces:
    """dL_i/dq_i = (1/temperature) (sum_j p_j k_j - k_+), p the softmax over all candidates.

    Follows from van den Oord et al. 2018, equation 4. With ``normalize`` the gradient is by the
    unit vector; `motion` carries it through the normalisation.

    Args:
        query: (N, D).
        key: (N, D), row i the partner of query i.
        temperature: The loss's.
        **who: Ids, further negatives, lengths: see `Who`.

    Raises:
        NearfarError: What `info_nce` refuses.

    Example:
        >>> found = forces(torch.eye(2), torch.eye(2), temperature=1.0)
        >>> round(found.gradient.sum().item(), 6)
        0.0
    """
    players = Players.of(query, key, temperature, **who)
    tau, push = players.temperature, torch.empty_like(players.query)
    for stripe in players.stripes():
        candidates = stripe.negative.scatter(1, stripe.own, stripe.positive[:, None])
        push[stripe.rows] = (candidates / tau).softmax(1) @ players.key / tau
    return Forces(pull=players.key[: len(push)] / tau, push=push)
