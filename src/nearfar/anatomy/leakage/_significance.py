"""Chance: the p-value of paired differences, and several tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sign_flip(differences: Tensor, *, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided permutation p-value of a mean of paired differences.

    If the two of a pair are exchangeable, their difference is as likely as its opposite: the share
    of random signs under which the mean is as far from zero (Fisher 1935, section 21). The
    differences themselves count as one draw, so the smallest value is 1 / (draws + 1) (Phipson &
    Smyth 2010, equation 2).

    Args:
        differences: (R,).
        draws: Random choices of signs.
        seed: Of these.

    Example:
        >>> sign_flip(torch.zeros(9)), sign_flip(torch.ones(40))
        (1.0, 0.0001)
    """
    generator = torch.Generator().manual_seed(seed)
    signs = 2 * torch.randint(2, (draws, len(differences)), generator=generator) - 1
    observed = differences.double().cpu()
    sums = (signs.double() @ observed).abs()
    # Sums that are equal differ in their last digit by the order of terms.
    hits = int((sums >= observed.sum().abs() * (1 - 1e-12)).sum())
    return (1 + hits) / (1 + draws)


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that one false alarm in all keeps its level.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.

    Args:
        p: One a test.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(p), 0.0
    for place, test in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - place) * p[test]))
        corrected[test] = largest
    return corrected
