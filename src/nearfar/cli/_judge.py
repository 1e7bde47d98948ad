"""What a model has learned, beside what needs no training."""

from __future__ import annotations

from functools import partial

from nearfar.model import Model
from nearfar.probes import Embed, Probe, Scores


def judge(model: Model, untrained: Model | None, probe: Probe) -> Scores:
    """Score a model, the same before its first step, and the reader's baselines.

    Args:
        model: The learned one.
        untrained: The same before its first step, where its weights are at hand.
        probe: What they are judged by.

    Raises:
        NearfarError: The probe has nothing to judge by.
    """
    features: dict[str, Embed] = {"learned": partial(model.embed, progress=True)}
    if untrained is not None:
        features["untrained"] = partial(untrained.embed, progress=True)
    return probe.score(features | model.reader.baselines())
