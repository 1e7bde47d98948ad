"""One look at a batch, in the numbers that a training writes down."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.anatomy._forces import forces
from nearfar.anatomy._game import play
from nearfar.anatomy._margin import margin
from nearfar.anatomy._players import Who
from nearfar.anatomy._space import alignment, effective_rank, uniformity
from nearfar.anatomy._weighing import hardest_share

# Queries that are looked at, however large the batch is: a look stays cheap beside a step.
QUERIES = 512


@dataclass(frozen=True, kw_only=True)
class GameStats:
    """One look at the game of a batch; nats, and means over the queries.

    Attributes:
        info_nce: Cross-entropy of the game; chance is `chance`.
        chance: log(K + 1), K negatives each.
        top1: Share of queries whose partner scores highest; a tie is not a hit.
        top5: Whose partner is among the five highest.
        mutual_information: log(K + 1) - info_nce, a lower bound on the mutual information of a
            pair where negatives are drawn from the marginal (van den Oord et al. 2018, section
            2.3); it cannot exceed log(K + 1).
        positive_similarity: alpha, the mean cosine of partners.
        negative_similarity: Mean cosine of strangers.
        margin: m_eff = beta + temperature ln K; see `nearfar.anatomy.margin`.
        frozen: Share of queries whose few hardest negatives decide everything; see there.
        effective_negatives: See `nearfar.anatomy.Game`.
        hardest_1: Share of the push that the hardest 1 % of the negatives take.
        hardest_10: The hardest 10 %.
        alignment: See `nearfar.anatomy.alignment`.
        uniformity: See `nearfar.anatomy.uniformity`.
        effective_rank: See `nearfar.anatomy.effective_rank`.
        pull_norm: Mean length of k_pos / temperature, the force towards the partner.
        push_norm: Mean length of sum_j p_j k_j / temperature, the force away from the crowd.
        force_angle: Mean angle between the two, radians.
        log_scale_gradient: dL / d log(1 / temperature), negative while a sharper game would be
            easier.
        length_low: 5 % of the vectors, before they are scaled to one, are shorter.
        length_middle: Half of them are.
        length_high: 95 % are.
    """

    info_nce: float
    chance: float
    top1: float
    top5: float
    mutual_information: float
    positive_similarity: float
    negative_similarity: float
    margin: float
    frozen: float
    effective_negatives: float
    hardest_1: float
    hardest_10: float
    alignment: float
    uniformity: float
    effective_rank: float
    pull_norm: float
    push_norm: float
    force_angle: float
    log_scale_gradient: float
    length_low: float
    length_middle: float
    length_high: float


@torch.no_grad()
def contrastive_stats(
    query: Tensor,
    key: Tensor,
    temperature: float,
    ids: Tensor | None = None,
    mask: Tensor | None = None,
) -> GameStats:
    """Measure the one-way game of a batch: every other row's key is a negative.

    Of more than `QUERIES` queries the first are looked at, each against all keys.

    Args:
        query: (N, D) embeddings, normalised here, N >= 2.
        key: (N, D) embeddings, row i the partner of query i.
        temperature: The loss's temperature.
        ids: (N,) integers; rows with equal ids are no negatives.
        mask: (N, N) bool, True where a key may be a negative; the rows of the queries that are
            looked at are enough.

    Raises:
        NearfarError: What `info_nce` refuses.

    Example:
        >>> stats = contrastive_stats(torch.eye(4), torch.eye(4), temperature=0.1)
        >>> stats.top1, round(stats.mutual_information, 3)
        (1.0, 1.386)
    """
    query, key = query[:QUERIES].float(), key.float()
    own, others = key[: len(query)], key[len(query) :]
    who: Who = {"negatives": others} if len(others) else {}
    if ids is not None:
        who["ids"] = ids[: len(query)]
        if len(others):
            who["negative_ids"] = ids[len(query) :]
    if mask is not None:
        who["mask"] = mask[: len(query)]
    game = play(query, own, temperature, **who)
    found = forces(query, own, temperature, **who)
    unit = functional.normalize(query, dim=1)
    shares = [hardest_share(query, own, temperature, part, **who) for part in (0.01, 0.1)]
    lengths = query.norm(dim=1).quantile(query.new_tensor([0.05, 0.5, 0.95])).tolist()
    read, loss = margin(game), game.loss.mean().item()
    chance = game.chance.mean().item()
    return GameStats(
        info_nce=loss,
        chance=chance,
        top1=game.top(1),
        top5=game.top(5),
        mutual_information=chance - loss,
        positive_similarity=read.alpha,
        negative_similarity=game.mean.mean().item(),
        margin=read.effective,
        frozen=read.frozen,
        effective_negatives=game.effective_negatives.mean().item(),
        hardest_1=shares[0].mean().item(),
        hardest_10=shares[1].mean().item(),
        alignment=alignment(unit, functional.normalize(own, dim=1)).item(),
        uniformity=uniformity(unit).item(),
        effective_rank=effective_rank(unit).item(),
        pull_norm=found.pull.norm(dim=1).mean().item(),
        push_norm=found.push.norm(dim=1).mean().item(),
        force_angle=found.angle.mean().item(),
        log_scale_gradient=((game.expected - game.positive) / game.temperature).mean().item(),
        length_low=lengths[0],
        length_middle=lengths[1],
        length_high=lengths[2],
    )
