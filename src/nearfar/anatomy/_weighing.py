"""Temperature: how the push is shared out among the negatives."""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Tensor

from nearfar.anatomy._game import Game
from nearfar.anatomy._players import Players, Who, share
from nearfar.errors import NearfarError
from nearfar.loss import Temperature


def push_weights(similarity: Tensor, temperature: float) -> Tensor:
    """The share of the push that each negative takes: softmax(s / temperature), and its limits.

    At 0 the hardest take it all (ties share alike); at infinity all take the same (Wang & Liu
    2021, section 3).

    Args:
        similarity: (..., K) of the negatives; -inf where one is left out.
        temperature: 0 to infinity, both included.

    Raises:
        NearfarError: A negative temperature, or NaN.

    Example:
        >>> push_weights(torch.tensor([0.9, 0.5, 0.1]), 0).tolist()
        [1.0, 0.0, 0.0]
        >>> push_weights(torch.tensor([0.9, 0.5]), math.inf).tolist()
        [0.5, 0.5]
    """
    if not temperature >= 0:
        raise NearfarError(f"temperature={temperature}: wanted 0 to infinity, both included.")
    if temperature == 0:
        hardest = (similarity == similarity.amax(-1, keepdim=True)).to(similarity.dtype)
        return hardest / hardest.sum(-1, keepdim=True)
    if math.isinf(temperature):
        present = (similarity > -torch.inf).to(similarity.dtype)
        return present / present.sum(-1, keepdim=True)
    return (similarity / temperature).softmax(-1)


@torch.no_grad()
def hardest_share(
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor | Temperature,
    part: float = 0.01,
    **who: Unpack[Who],
) -> Tensor:
    """The share of the push that the hardest ``part`` of each query's negatives take, (N,).

    Of K negatives, the ceil(part K) most similar ones: at least one.

    Args:
        query: (N, D).
        key: (N, D), row i the partner of query i.
        temperature: The loss's.
        part: Such as 0.01 or 0.1.
        **who: Ids, further negatives, lengths: see `Who`.

    Raises:
        NearfarError: What `info_nce` refuses, and a part outside (0, 1].

    Example:
        >>> round(hardest_share(torch.eye(101), torch.eye(101), 0.1)[0].item(), 4)
        0.01
    """
    share("part", part)
    players = Players.of(query, key, temperature, **who)
    found = []
    for stripe in players.stripes():
        weight = push_weights(stripe.negative, players.temperature)
        count = (stripe.negative > -torch.inf).sum(1)
        # A hair less, so that 1 % of 100 is 1 in floating point, too.
        many = (count.double() * (part * (1 - 1e-12))).ceil().long()
        sums = weight.topk(int(many.max()), 1).values.cumsum(1)
        found.append(sums.gather(1, many[:, None] - 1).squeeze(1))
    return torch.cat(found)


def temperature_gradient(game: Game) -> Tensor:
    """dL_i / dtemperature = (s_+ - E_p[s]) / temperature^2, (N,).

    Args:
        game: From `play`.
    """
    return (game.positive - game.expected) / game.temperature**2


def sharp_limit(game: Game) -> Tensor:
    """The limit of temperature times loss at temperature 0, (N,): only the hardest negative counts.

    max(0, max_j s_j - s_+), a triplet loss without margin (Wang & Liu 2021, equation 5).

    Args:
        game: From `play`.
    """
    return (game.hardest_similarity - game.positive).clamp_min(0)


def blunt_limit(game: Game) -> Tensor:
    """The limit of temperature (loss - log(K + 1)) at infinity, (N,): all negatives count alike.

    (mean of all K + 1 candidates) - s_+ (Wang & Liu 2021, equation 6, constants left in).

    Args:
        game: From `play`.
    """
    return (game.mean - game.positive) * game.negatives / (game.negatives + 1)


@torch.no_grad()
def tolerance(vectors: Tensor, labels: Tensor) -> float:
    """Mean cosine of different items of one label: how alike the alike may stay.

    Wang & Liu 2021, equation 9, over pairs of one label instead of all pairs (so that it does not
    depend on how many classes there are).

    Args:
        vectors: (N, D) unit vectors.
        labels: (N,) integers.

    Raises:
        NearfarError: No label has two items.
    """
    if len(labels) != len(vectors):
        raise NearfarError(
            f"labels has {len(labels)} rows but vectors has {len(vectors)}; wanted one each."
        )
    names, which = torch.unique(labels, return_inverse=True)
    sums = vectors.new_zeros(len(names), vectors.shape[1]).index_add_(0, which, vectors)
    count = which.bincount().to(vectors.dtype)
    pairs = (count * (count - 1)).sum()
    if not pairs:
        raise NearfarError("labels: no label has two items; wanted pairs of the same label.")
    own = vectors.square().sum()
    return float((sums.square().sum() - own) / pairs)
