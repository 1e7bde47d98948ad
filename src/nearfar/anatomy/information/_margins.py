"""Each column on a common scale, learned from the training rows alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """Normal scores: a value's rank among the training rows as a standard normal quantile.

    Mutual information does not change under such a map of one column, and heavy tails are gone.

    Attributes:
        sorted: (D, N) training values of each column.
    """

    sorted: Tensor

    @classmethod
    def of(cls, train: Tensor) -> Ranks:
        """Of (N, D) training rows."""
        columns: Tensor = train.T.sort(1).values
        return cls(columns.contiguous())

    def __call__(self, rows: Tensor) -> Tensor:
        """(M, D) rows to (M, D) scores; equal values share the middle of their ranks."""
        columns = rows.T.contiguous()
        below = torch.searchsorted(self.sorted, columns)
        upto = torch.searchsorted(self.sorted, columns, right=True)
        share = (below + upto + 1).double() / (2 * (self.sorted.shape[1] + 1))
        scores: Tensor = torch.special.ndtri(share)
        return scores.T.contiguous()


@dataclass(frozen=True)
class Standard:
    """Mean 0 and standard deviation 1 in each column, as most code does.

    Attributes:
        mean: (D,).
        scale: (D,).
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, train: Tensor) -> Standard:
        """Of (N, D) training rows."""
        deviation = train.std(0)
        return cls(train.mean(0), torch.where(deviation > 0, deviation, 1.0))

    def __call__(self, rows: Tensor) -> Tensor:
        """(M, D) rows, scaled."""
        return (rows - self.mean) / self.scale
