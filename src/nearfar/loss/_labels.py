"""One batch against itself: labels say who belongs together; nobody is its own candidate."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._dense import contrast, logits


def against_itself(
    z: Tensor, positive: Tensor, allowed: Tensor, temperature: float | Tensor, *, decoupled: bool
) -> Tensor:
    """Mean over each row's positives, outside the logarithm (L_out), (R,).

    Args:
        z: (R, D) rows of length one.
        positive: (R, R) bool, the diagonal False. A row without any gives 0 pull.
        allowed: (R, R) bool, True where j may be a negative of i.
        temperature: Divides the similarities.
        decoupled: Positives leave the denominator.
    """
    scores = logits(z, z, temperature)
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    negative = allowed & ~positive & ~own
    crowd = negative if decoupled else negative | positive
    # Other positives in the crowd are no negatives: a batch of one item has none.
    check.has_negative(negative, needed=1)
    weights = positive.to(scores.dtype) / positive.sum(1, keepdim=True).clamp_min(1)
    return contrast(scores, weights, crowd)
