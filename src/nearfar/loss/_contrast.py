"""Push and pull make a loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.loss.push import lse


def contrast(
    crowd: Tensor, positive: Tensor, pull: Tensor | None = None, *, decoupled: bool = False
) -> Tensor:
    """log(exp(crowd) + exp(positive)) - pull, right also where it is tiny or the crowd is empty.

    Args:
        crowd: (N,) logsumexp of the negatives.
        positive: (N,) logsumexp of the positives.
        pull: (N,) mean logit of the positives; None: there is one, ``positive``.
        decoupled: The positives leave the logarithm.
    """
    if decoupled:
        return crowd - (positive if pull is None else pull)
    # log(1 + e^x) to the last digit: torch's switch to x at 20 would show in float64.
    loss = functional.softplus(crowd - positive, threshold=40)
    return loss if pull is None else loss + (positive - pull)


def joined(*logs: Tensor) -> Tensor:
    """Logsumexp of the parts of a crowd, (N,) each; any of them may be empty."""
    return logs[0] if len(logs) == 1 else lse(torch.stack(logs, 1), 1)
