"""The density ratio behind a critic's scores."""

from __future__ import annotations

import math

from torch import Tensor

from nearfar.errors import NearfarError


def density_ratio(score: Tensor, noise_scores: Tensor) -> Tensor:
    """log p(y|x) / q(y), recovered from scores.

    The critic that minimises InfoNCE is s(x, y) = log p(y|x) / q(y) + c(x), with q the law of the
    negatives and c a constant *of each query* that the loss cannot see (van den Oord et al. 2018,
    equation 5; Poole et al. 2019, section 2.4). As E_q[p(y|x) / q(y)] = 1, that constant is the
    log-mean-exp of the scores over noise: subtract it. Take noise that the critic has not learned
    from; with K samples the constant's error is about the standard deviation of the ratio over
    sqrt(K).

    Args:
        score: (N,) scores of N queries with one y each, or (N, M) with M each.
        noise_scores: (N, K) scores of the same queries with K samples of q each.

    Returns:
        Nats, in the shape of ``score``. Of p(y|x) / p(y) where negatives are drawn from p(y).

    Raises:
        NearfarError: Shapes that do not fit.

    Example:
        Whatever is added to all scores of a query makes no difference.

        >>> import torch
        >>> noise = torch.tensor([[0.5, 1.5], [0.5, 1.5]]).log() + torch.tensor([[3.0], [-8.0]])
        >>> density_ratio(noise[:, 1], noise).exp()
        tensor([1.5000, 1.5000])
    """
    fits = score.ndim in (1, 2) and noise_scores.ndim == 2 and len(score) == len(noise_scores)
    if not fits or noise_scores.shape[1] == 0:
        raise NearfarError(
            f"score has shape {tuple(score.shape)} and noise_scores {tuple(noise_scores.shape)}; "
            "wanted (N,) or (N, M), and (N, K): row i of both belongs to query i."
        )
    level = noise_scores.logsumexp(1) - math.log(noise_scores.shape[1])
    return score - (level if score.ndim == 1 else level[:, None])
