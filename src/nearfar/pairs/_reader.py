"""From what a user has (a path, an array) to what an encoder takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean
from nearfar.probes import Embed, Labelled, Probe, held_out


@dataclass(frozen=True)
class Inputs:
    """What a path holds, as a reader reads it.

    Attributes:
        names: What a person calls each item.
        items: What `Reader.read` takes, one per item.
        labels: One per item, for evaluation only; None where there are none.
        skipped: What could not be read, each with the reason.
        remarks: What a person should know about them.
        groups: One per item, equal for those that show the same: an evaluation holds all of them
            out, or none. None where all differ.
    """

    names: list[str]
    items: Sequence[Any]
    labels: list[str] | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    groups: list[int] | None = None

    def named(self, query: str, what: str) -> Any:
        """An item by its name, or a picture by its path.

        Args:
            query: What the user typed.
            what: What the items are called: places, frames.

        Raises:
            NearfarError: It is neither.
        """
        if query in self.names:
            return self.items[self.names.index(query)]
        if Path(query).is_file():
            return query
        raise NearfarError(
            f"query={query!r} is neither a picture nor one of {len(self.names)} {what}, such as "
            f"{self.names[0]!r}.{did_you_mean(query, self.names)}"
        )


class Reader(ABC):
    """Turns what a user has into what an encoder takes; rebuilt with a model from ``settings``.

    Attributes:
        settings: Arguments of the constructor, as plain JSON.
        batch_size: Inputs in memory at a time while embedding.
        example: How a query looks in a command.
    """

    settings: dict[str, Any]
    batch_size: int = 256
    example: str = "QUERY"

    @abstractmethod
    def read(self, inputs: Sequence[Any]) -> Any:
        """Inputs to a batch in memory: a tensor, or anything else with ``to(device)``."""

    @abstractmethod
    def prepare(self, batch: Any) -> Any:
        """A batch in memory to the encoder's input, on the batch's device."""

    @abstractmethod
    def find(self, path: str) -> Inputs:
        """Everything that can be read at a path.

        Raises:
            NearfarError: Nothing is there, or nothing of it can be read.
        """

    @abstractmethod
    def baselines(self) -> dict[str, Embed]:
        """Features without any training, by name; every evaluation prints them beside."""

    def stream(self, path: str) -> Iterator[Inputs]:
        """`find` in parts, for what does not fit the memory."""
        yield self.find(path)

    def one(self, query: str, gallery: Inputs) -> Any:
        """The input that a user names: a path, or one of the gallery's items."""
        return query

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """What this kind of input is judged by.

        Args:
            found: Labelled inputs.
            test: More of them to test on; by default a part of the first is held out.

        Returns:
            None where there are no labels, or too few.
        """
        if test is None:
            return held_out(found.items, found.labels, groups=found.groups)
        if found.labels is None or test.labels is None:
            return None
        return Labelled(
            gallery=found.items,
            gallery_labels=found.labels,
            queries=test.items,
            query_labels=test.labels,
        )

    def pictures(self, inputs: Sequence[Any]) -> Tensor | None:
        """(N, H, W, 3) uint8, how inputs look to a person; None where they have no look."""
        return None
