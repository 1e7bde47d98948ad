"""What the server needs of whoever carries its messages; Flower does, a test may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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
