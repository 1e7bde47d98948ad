"""What server and clients tell each other, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nearfar.federate._average import State
from nearfar.federate._bank import Crowd


@dataclass(frozen=True)
class Hello:
    """A client's first answer: what it would train. Of its data, their number alone.

    Attributes:
        owner: The client's id, the same after it has been away.
        items: How many it holds.
        weights: Of its untrained learner.
        model: Reader, encoder and head as JSON, from which the server makes a model without data.
    """

    owner: int
    items: int
    weights: State
    model: dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """A request for entries of the bank.

    Attributes:
        number: The round, from 0.
        weights: The average; all clients' entries are one model's.
        noise: Standard deviation of the noise on what is shared.
    """

    number: int
    weights: State
    noise: float


@dataclass(frozen=True)
class Shared:
    """What a client gives to the bank.

    Attributes:
        owner: The client's id.
        number: The round of the weights that made it.
        keys: (M, D) unit vectors.
    """

    owner: int
    number: int
    keys: Tensor


@dataclass(frozen=True)
class Task:
    """A round's work.

    Attributes:
        number: The round, from 0.
        weights: The average, to begin from.
        anchor: The weights that made the bank's newest entries, where they are others.
        crowd: Others' entries of the bank.
    """

    number: int
    weights: State
    anchor: State | None
    crowd: Crowd


@dataclass(frozen=True)
class Answer:
    """What a client has learned.

    Attributes:
        owner: The client's id.
        number: The round of the task.
        weights: After its steps; none where they are summed securely, later.
        items: How many it holds.
        measures: Figures of its last step.
    """

    owner: int
    number: int
    weights: State
    items: int
    measures: dict[str, float]


Words = Ask | Task | None
Said = Hello | Shared | Answer


def size(*parts: State | Tensor | None) -> int:
    """Bytes of tensors."""
    tensors = [x for p in parts for x in (p.values() if isinstance(p, dict) else [p])]
    return sum(x.numel() * x.element_size() for x in tensors if x is not None)
