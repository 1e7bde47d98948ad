"""What the training loop asks of data, whatever the data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Row i of ``query`` and row i of ``key`` are partners, as far as ``weight`` says no more.

    Attributes:
        query: What the encoder takes for N queries: a (N, ...) tensor, a graph, ...
        key: The same for their keys.
        ids: (N,) integers; rows with equal ids are never each other's negatives.
        weight: (N, N) sparse weights of several positives (`info_nce`'s ``weight``), where row i
            of ``key`` is not the only partner of query i.
    """

    query: Any
    key: Any
    ids: Tensor
    weight: Tensor | None = None

    @property
    def relation(self) -> dict[str, Tensor]:
        """Who belongs together, as the objective's keyword arguments."""
        extra = {} if self.weight is None else {"weight": self.weight}
        return {"ids": self.ids, **extra}


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
