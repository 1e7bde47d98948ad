"""From what a client said of its model, and the average of all weights, to a model."""

from __future__ import annotations

from typing import Any

from nearfar.encoders import Encoder
from nearfar.federate._average import State
from nearfar.model import Model, rebuild
from nearfar.pairs import Reader


def model_of(description: dict[str, Any], weights: State) -> Model:
    """The trained model, made without any data.

    Args:
        description: Of a `Hello`; nothing in it is unpickled.
        weights: Of a learner.
    """
    head = description["head"]
    model = Model(
        rebuild(description["reader"], Reader),  # type: ignore[type-abstract]
        rebuild(description["encoder"], Encoder),
        rebuild(head, Encoder) if head else None,
        description["embedding"],
    )
    own = "model."
    model.load_state_dict(
        {name.removeprefix(own): x for name, x in weights.items() if name.startswith(own)}
    )
    return model.eval()
