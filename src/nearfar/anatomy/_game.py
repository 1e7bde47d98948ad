"""The game: which of these candidates is the partner of this query?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.anatomy._space import alignment, effective_rank, uniformity


@dataclass(frozen=True, kw_only=True)
class GameStats:
    """One look at the game of a batch; nats, and means over the queries.

    Attributes:
        info_nce: Cross-entropy of the game; chance is `chance`.
        chance: log(K + 1), K negatives each.
        top1: Share of queries whose partner scores highest.
        mutual_information: log(K + 1) - info_nce, a lower bound on the mutual information of a
            pair where negatives are drawn from the marginal (van den Oord et al. 2018, section
            2.3); it cannot exceed log(K + 1).
        positive_similarity: alpha, the mean cosine of partners.
        negative_similarity: Mean cosine of strangers.
        alignment: See `nearfar.anatomy.alignment`.
        uniformity: See `nearfar.anatomy.uniformity`.
        effective_rank: See `nearfar.anatomy.effective_rank`.
        pull_norm: Mean length of k_pos / temperature, the force towards the partner.
        push_norm: Mean length of sum_j p_j k_j / temperature, the force away from the crowd.
    """

    info_nce: float
    chance: float
    top1: float
    mutual_information: float
    positive_similarity: float
    negative_similarity: float
    alignment: float
    uniformity: float
    effective_rank: float
    pull_norm: float
    push_norm: float


@torch.no_grad()
def contrastive_stats(query: Tensor, key: Tensor, temperature: float) -> GameStats:
    """Measure the one-way game of a batch: every other row's key is a negative.

    Args:
        query: (N, D) embeddings, normalised here, N >= 2.
        key: (N, D) embeddings, row i the partner of query i.
        temperature: The loss's temperature.

    Example:
        >>> stats = contrastive_stats(torch.eye(4), torch.eye(4), temperature=0.1)
        >>> stats.top1, round(stats.mutual_information, 3)
        (1.0, 1.386)
    """
    query = functional.normalize(query.float(), dim=1)
    key = functional.normalize(key.float(), dim=1)
    similarity = query @ key.T
    positive = similarity.diagonal()
    logits = similarity / temperature
    loss = (logits.logsumexp(1) - positive / temperature).mean().item()
    count = len(query)
    chance = math.log(count)
    return GameStats(
        info_nce=loss,
        chance=chance,
        # An embedding that has collapsed ties everywhere; a tie is not a hit.
        top1=((similarity >= positive[:, None]).sum(1) == 1).float().mean().item(),
        mutual_information=chance - loss,
        positive_similarity=positive.mean().item(),
        negative_similarity=((similarity.sum() - positive.sum()) / (count * (count - 1))).item(),
        alignment=alignment(query, key).item(),
        uniformity=uniformity(query).item(),
        effective_rank=effective_rank(query).item(),
        pull_norm=1 / temperature,
        push_norm=((logits.softmax(1) @ key).norm(dim=1).mean() / temperature).item(),
    )
