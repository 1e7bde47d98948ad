"""Sentences that say what the figures mean."""

from __future__ import annotations

import math
from typing import Any


def verdict(lines: list[dict[str, float]]) -> str:
    """How well the game is played, against chance."""
    if not lines:
        return "No step has been taken yet."
    last = lines[-1]
    candidates = round(math.exp(last["chance"]))
    return (
        f"After {int(last['step']):,} steps the true partner is picked out of {candidates:,} "
        f"candidates {last['top1']:.0%} of the time (chance {1 / candidates:.2%})."
    )


def judgement(scores: dict[str, Any] | None) -> tuple[str, bool]:
    """Whether the embedding is worth having, and whether that is good news."""
    if scores is None:
        return (
            "Nothing was labelled, so nothing is judged: a falling loss alone does not show that "
            "the embedding is useful. Look at the neighbours below.",
            True,
        )
    rows, measures = scores["rows"], scores["measures"]
    learned = rows["learned"]
    beaten_by = []
    for name, row in rows.items():
        if name == "learned":
            continue
        lost = [
            f"{text} {row[measure]:.3f} against {learned[measure]:.3f}"
            for measure, text in measures.items()
            # Both perfect is no defeat.
            if measure in row and row[measure] >= learned.get(measure, math.inf) < 1
        ]
        beaten_by += [f"{name} ({', '.join(lost)})"] if lost else []
    if beaten_by:
        return (
            f"The learned embedding does not beat {'; '.join(beaten_by)}. Train longer, or ask "
            "whether the views change only what does not matter.",
            False,
        )
    first = next(measure for measure in measures if measure in learned)
    others = ", ".join(
        f"{name} {row[first]:.3f}"
        for name, row in rows.items()
        if name != "learned" and first in row
    )
    return f"{measures[first]}: {learned[first]:.3f} ({others}).", True


def saturation(lines: list[dict[str, float]]) -> str:
    """Whether the bound on mutual information still says something."""
    if lines and lines[-1]["mutual_information"] > lines[-1]["chance"] - 1:
        return (
            "The bound is saturated (within 1 nat of its ceiling): only a larger crowd says more."
        )
    return "The bound is below its ceiling by more than 1 nat."
