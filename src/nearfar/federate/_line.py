"""What the server needs of whoever carries its messages; Flower does, a test may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nearfar.federate._messages import Said, Words


@dataclass(frozen=True)
class Reply:
    """What came back from a node.

    Attributes:
        node: Which.
        said: Its words; a sentence where it failed.
    """

    node: int
    said: Said | str


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What secure aggregation brought.

    Attributes:
        mean: (P,) float64, the mean of the clients' vectors; None where there is none.
        nodes: Whose vectors are in it.
        reason: Why there is none, where there is none.
        failures: A sentence of each node that failed on the way.
        late: Nodes that have not answered in time.
        up: Bytes from clients.
        down: Bytes to clients.
    """

    mean: Tensor | None
    nodes: set[int]
    reason: str
    failures: dict[int, str]
    late: set[int]
    up: int
    down: int


class Line(Protocol):
    """Carries messages to nodes and back."""

    def nodes(self) -> list[int]:
        """Who can be reached now, in no order."""
        ...

    def send(self, words: Mapping[int, Words]) -> None:
        """To each node its own; None asks for a `Hello`."""
        ...

    def collect(self, awaited: Sequence[int], seconds: float) -> list[Reply]:
        """Replies, in no order, late ones from earlier rounds among them.

        Args:
            awaited: Returns as soon as each of these has replied to the last that it was sent,
            seconds: or when so much time is over.
        """
        ...

    def gather(self, items: Mapping[int, int], number: int, least: int, seconds: float) -> Gathered:
        """The mean of the vectors that nodes have kept, of which the server sees the sum alone.

        Args:
            items: Of each node that is asked: how much its vector counts.
            number: The round that the vectors must be of.
            least: Nodes that must be in the sum.
            seconds: Until those that do not answer are left out, in each stage.
        """
        ...
