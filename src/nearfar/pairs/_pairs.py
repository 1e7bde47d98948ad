"""What the training loop asks of data, whatever the data are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from nearfar.probes import Embed

Side = Literal["query", "key"]


@dataclass(frozen=True)
class Batch:
    """Row i of ``query`` and row i of ``key`` are partners, as far as ``weight`` says no more.

    Attributes:
        query: What the encoder takes for N queries: a (N, ...) tensor, a graph, ...
        key: The same for their keys.
        ids: (N,) integers; rows with equal ids are never each other's negatives.
        weight: (N, N) sparse weights of several positives (`info_nce`'s ``weight``), where row i
            of ``key`` is not the only partner of query i.
        mask: (N, N) bool, True where row j of ``key`` may stand in the crowd of query i, where ids
            do not say it all.
    """

    query: Any
    key: Any
    ids: Tensor
    weight: Tensor | None = None
    mask: Tensor | None = None

    @property
    def relation(self) -> dict[str, Tensor]:
        """Who belongs together, as the objective's keyword arguments."""
        given = {"ids": self.ids, "weight": self.weight, "mask": self.mask}
        return {name: value for name, value in given.items() if value is not None}

    def strangers(self, most: int) -> Tensor | None:
        """Who may be a negative of the first queries, as far as ids do not say it.

        A query whose keys are all its positives is to be told from all of them, as a game needs a
        crowd.

        Args:
            most: Queries that are asked about; a whole graph's matrix would not fit the memory.

        Returns:
            (most, N) bool, or None where ids say it all.
        """
        if self.weight is None:
            return None if self.mask is None else self.mask[:most]
        rows = torch.arange(min(most, len(self.weight)), device=self.weight.device)
        partners = self.weight.index_select(0, rows).to_dense() > 0
        strangers = ~partners | partners.all(1, keepdim=True)
        return strangers if self.mask is None else strangers & self.mask[:most]


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


@runtime_checkable
class LonePairs(Pairs, Protocol):
    """Pairs of which one side shows single items: row i shows item i, and nothing of another.

    Privacy rests on it. What shows in other items' views, too, would leave with each of them.

    Attributes:
        alone: That side of a batch.
    """

    alone: Side


@runtime_checkable
class LearningPairs(Pairs, Protocol):
    """Pairs that learn about the data from the model that learns from them."""

    def revise(self, embed: Embed, step: int, steps: int) -> None:
        """Look again at who belongs together; called before every step.

        Args:
            embed: Inputs to the vectors that the model gives them now.
            step: Steps done.
            steps: Steps in all.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """What was learned, for the checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...
