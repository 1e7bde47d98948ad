"""The table that every evaluation prints: what was learned beside what needs no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
# N inputs to (N, D) features.
Embed = Callable[[Sequence[Any]], Vectors]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How well several kinds of features do; higher is better in every column.

    Attributes:
        title: What was judged: ``450 held-out items, 10 classes``.
        measures: Key to heading, in the order of the columns.
        rows: Features' name to measure's key to value; what does not apply is left out.
        note: The level of chance, and what to mind.
    """

    title: str
    measures: dict[str, str]
    rows: dict[str, dict[str, float]]
    note: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Probe(Protocol):
    """What embeddings are judged by; training never sees its labels."""

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Judge each kind of features.

        Args:
            features: ``learned``, ``untrained`` where its weights are at hand, and the reader's
                baselines, each a function from inputs to vectors.

        Raises:
            NearfarError: There is nothing to judge by.
        """
        ...
