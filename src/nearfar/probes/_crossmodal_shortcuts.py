"""What a file's header alone tells of its label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """How well facts that have nothing to do with what is heard predict the label.

    Attributes:
        accuracy: Of each fact, and of ``all`` together, cross-validated.
        commonest: Share of the commonest label: what a guess gets.
        items: How many were tested.
        verdict: One sentence.
    """

    accuracy: dict[str, float]
    commonest: float
    items: int
    verdict: str


def shortcuts(facts: Mapping[str, NDArray[np.float64]], labels: Sequence[str]) -> Shortcuts | None:
    """Predict labels from facts by a random forest, five-fold cross-validated.

    Args:
        facts: Name to (N,) numbers, such as sample rate, length and loudness.
        labels: (N,) labels.

    Returns:
        None where fewer than two labels have five items or more.

    Example:
        >>> rate = np.array([8000.0] * 20 + [44100.0] * 20)
        >>> shortcuts({"rate": rate}, ["cat"] * 20 + ["bird"] * 20).accuracy["rate"]
        1.0
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    counts = Counter(labels)
    keep = np.array([counts[label] >= 5 and bool(label) for label in labels], bool)
    targets = np.array(labels)[keep]
    if len(set(targets.tolist())) < 2:
        return None
    columns = {name: np.asarray(values, np.float64)[keep] for name, values in facts.items()}
    folds = StratifiedKFold(5, shuffle=True, random_state=0)

    def accuracy(*chosen: NDArray[np.float64]) -> float:
        forest = RandomForestClassifier(40, min_samples_leaf=2, random_state=0)
        return float(cross_val_score(forest, np.stack(chosen, 1), targets, cv=folds).mean())

    found = {name: accuracy(column) for name, column in columns.items()}
    found["all"] = accuracy(*columns.values())
    commonest = max(Counter(targets.tolist()).values()) / len(targets)
    # Two standard errors of a share, from the commonest label's.
    chance = commonest + 2 * float(np.sqrt(commonest * (1 - commonest) / len(targets)))
    best = max(found["all"], *found.values())
    named = " and ".join([", ".join([*columns][:-1]), [*columns][-1]]) if len(columns) > 1 else "it"
    verdict = (
        f"{named} alone tell the label of {best:.1%} of the files, where the commonest label is "
        f"{commonest:.1%} of them: a model that may see them need not listen."
        if best > chance
        else f"{named} tell no more of the label ({best:.1%}) than the commonest label "
        f"({commonest:.1%}) does."
    )
    return Shortcuts(accuracy=found, commonest=commonest, items=len(targets), verdict=verdict)
