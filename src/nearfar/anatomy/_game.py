"""The game: which of these candidates is the partner of this query?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from nearfar.anatomy._players import Players, Who
from nearfar.loss import Temperature


@dataclass(frozen=True, kw_only=True)
class Game:
    """One-way InfoNCE, query by query; all are (N,) unless said otherwise.

    Attributes:
        temperature: Divides the similarities, a number.
        negatives: K, how many negatives the query has.
        loss: Cross-entropy in nats (van den Oord et al. 2018, equation 4).
        probability: p_+ = exp(-loss), of the true partner.
        rank: The partner's place by similarity, 1 the best; a tie counts against it.
        entropy: Of p over all K + 1 candidates, in nats; log(K + 1) is ignorance.
        effective_negatives: exp of the entropy of p over the negatives alone: how many push.
        concentration: sum_j p_j^2 over the negatives alone; 1 / it also counts them, and is
            governed by the strongest.
        positive: s_+, similarity of the partner.
        expected: E_p[s] over all candidates.
        level: beta = temperature * log mean_j exp(s_j / temperature), the crowd's level.
        mean: Plain mean of the negatives' similarities.
        deviation: Their standard deviation (of the population).
        hardest_similarity: The greatest of them.
        hardest: (N, k) places among the keys of the negatives that push hardest.
        share: (N, k) the share of the whole push that each of these takes.
    """

    temperature: float
    negatives: Tensor
    loss: Tensor
    probability: Tensor
    rank: Tensor
    entropy: Tensor
    effective_negatives: Tensor
    concentration: Tensor
    positive: Tensor
    expected: Tensor
    level: Tensor
    mean: Tensor
    deviation: Tensor
    hardest_similarity: Tensor
    hardest: Tensor
    share: Tensor

    @property
    def chance(self) -> Tensor:
        """log(K + 1), the loss of who guesses, (N,)."""
        return (self.negatives + 1).to(self.loss.dtype).log()

    def top(self, k: int) -> float:
        """Share of queries whose partner is among the k most similar candidates."""
        return (self.rank <= k).double().mean().item()


@torch.no_grad()
def play(
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor | Temperature,
    *,
    k: int = 5,
    **who: Unpack[Who],
) -> Game:
    """Play it once and look, at O((N + M) D) memory.

    Args:
        query: (N, D).
        key: (N, D), row i the partner of query i; every other row is a negative.
        temperature: The loss's.
        k: How many of the hardest negatives to name.
        **who: Ids, further negatives, lengths: see `Who`.

    Raises:
        NearfarError: What `info_nce` refuses.

    Example:
        >>> game = play(torch.eye(4), torch.eye(4), temperature=0.5)
        >>> game.top(1), round(game.effective_negatives.mean().item(), 3)
        (1.0, 3.0)
    """
    players = Players.of(query, key, temperature, **who)
    parts = [
        _read(stripe.positive, stripe.negative, players.temperature, k)
        for stripe in players.stripes()
    ]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return Game(temperature=players.temperature, **found)


@torch.no_grad()
def read(positive: Tensor, negative: Tensor, temperature: float, k: int = 5) -> Game:
    """The game of similarities that are known already.

    Args:
        positive: (N,) of the partners.
        negative: (N, K) of the negatives; -inf where one is left out.
        temperature: The loss's.
        k: How many of the hardest negatives to name, by their columns.

    Example:
        >>> game = read(torch.tensor([0.9]), torch.tensor([[0.1, -0.2]]), temperature=0.1)
        >>> game.rank.tolist(), game.hardest[0].tolist()
        ([1], [0, 1])
    """
    return Game(temperature=temperature, **_read(positive, negative, temperature, k))


def _read(positive: Tensor, negative: Tensor, tau: float, k: int) -> dict[str, Tensor]:
    absent = negative == -torch.inf
    count = (~absent).sum(1)
    number = count.to(negative.dtype)
    scores = negative / tau
    log = scores.logsumexp(1)
    # log(1 + e^x) to the last digit: torch's softplus turns linear at 20.
    loss = torch.logaddexp(log - positive / tau, torch.zeros_like(log))
    weight = (scores - log[:, None]).exp_()
    entropy = torch.special.entr(weight).sum(1)
    own, others = (-loss).exp(), -torch.expm1(-loss)
    present = negative.masked_fill(absent, 0.0)
    mean = present.sum(1) / number
    spread = (negative - mean[:, None]).masked_fill_(absent, 0.0)
    share, hardest = weight.topk(min(k, weight.shape[1]), 1)
    return {
        "negatives": count,
        "loss": loss,
        "probability": own,
        "rank": 1 + (negative >= positive[:, None]).sum(1),
        "entropy": torch.special.entr(own) + torch.special.entr(others) + others * entropy,
        "effective_negatives": entropy.exp(),
        "concentration": weight.square().sum(1),
        "positive": positive,
        "expected": own * positive + others * (weight * present).sum(1),
        "level": tau * (log - number.log()),
        "mean": mean,
        "deviation": (spread.square().sum(1) / number).sqrt(),
        "hardest_similarity": negative.amax(1),
        "hardest": hardest,
        "share": share,
    }
