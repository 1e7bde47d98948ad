"""The shape of the space: alignment, uniformity, effective rank."""

from __future__ import annotations

import torch
from torch import Tensor


def alignment(query: Tensor, key: Tensor) -> Tensor:
    """Mean squared distance of partners; 0 when every pair coincides.

    ``E |q - k|^2`` on the unit sphere (Wang & Isola 2020, equation 1, alpha = 2).

    Args:
        query: (N, D) unit vectors.
        key: (N, D) unit vectors, row i the partner of query i.

    Example:
        >>> float(alignment(torch.eye(3), torch.eye(3)))
        0.0
    """
    return (query - key).square().sum(1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """How evenly vectors spread over the sphere; 0 when all coincide, lower is more even.

    ``log E exp(-2 |x - y|^2)`` over pairs of different rows (Wang & Isola 2020, equation 2, t = 2).

    Args:
        vectors: (N, D) unit vectors, N >= 2.

    Example:
        >>> round(float(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))), 3)
        -8.0
    """
    squared = torch.pdist(vectors).square()
    return torch.logsumexp(-2 * squared, 0) - torch.tensor(float(squared.numel())).log()


def effective_rank(vectors: Tensor) -> Tensor:
    """The number of directions that are in use: exp of the entropy of the singular values.

    Roy & Vetterli 2007, on the centred vectors; near 1 means collapse, D is the most.

    Args:
        vectors: (N, D), N >= 2.
    """
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()
