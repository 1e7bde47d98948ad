"""What the training loop asks of data, whatever the data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Row i of ``query`` and row i of ``key`` are partners.

    Attributes:
        query: (N, ...) encoder inputs.
        key: (N, ...) encoder inputs.
        ids: (N,) integers; rows with equal ids are never each other's negatives.
    """

    query: Tensor
    key: Tensor
    ids: Tensor


class Pairs(Protocol):
    """A data set that can draw pairs.

    Attributes:
        fingerprint: Changes when the data change; a run resumes only on the data it began with.
    """

    fingerprint: str

    def __len__(self) -> int:
        """The number of items."""
        ...

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two random views of the items ``rows``, drawn from torch's current random state."""
        ...

    def names(self, rows: Tensor) -> list[str]:
        """What a person calls these items."""
        ...
