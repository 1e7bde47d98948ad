"""Judge embeddings: kNN and linear probes, with the untrained encoder and the raw input beside."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.experiment import Probe
from nearfar.model import Model

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """Accuracies of one kind of feature, 0..1.

    Attributes:
        knn: Weighted k nearest neighbours by cosine.
        linear: Logistic regression on all labels of the gallery.
        five_labels: Logistic regression on five labels a class, mean of ten draws; None where a
            class has fewer than five.
    """

    knn: float
    linear: float
    five_labels: float | None


@dataclass(frozen=True)
class Scores:
    """The table that every evaluation prints.

    Attributes:
        rows: ``learned``, ``untrained`` (where its weights are at hand) and ``raw input``.
        classes: Number of classes.
        gallery: Labelled items that a classifier learns from.
        queries: Items it is tested on.
        k: Neighbours that vote.
        chance: Share of the commonest class among the queries.
    """

    rows: dict[str, Row]
    classes: int
    gallery: int
    queries: int
    k: int
    chance: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def evaluate(
    model: Model, untrained: Model | None, probe: Probe, *, progress: bool = False
) -> Scores:
    """Score a model on labelled data.

    Args:
        model: The learned one.
        untrained: The same before its first step.
        probe: Labelled gallery and queries.
        progress: Show bars.

    Raises:
        NearfarError: Fewer than two classes, or nothing to test on.
    """
    classes = len(set(probe.gallery_labels))
    if classes < 2 or not len(probe.queries):
        raise NearfarError(
            f"The gallery has {classes} class(es) and there are {len(probe.queries)} queries; "
            "wanted at least two labelled classes (sub-folders) and one query."
        )
    features: dict[str, tuple[Vectors, Vectors]] = {}
    for name, who in (("learned", model), ("untrained", untrained)):
        if who is not None:
            features[name] = (
                who.embed(probe.gallery, progress=progress),
                who.embed(probe.queries, progress=progress),
            )
    features["raw input"] = (model.reader.raw(probe.gallery), model.reader.raw(probe.queries))
    k = neighbours_for(len(probe.gallery))
    labels, targets = list(probe.gallery_labels), list(probe.query_labels)
    return Scores(
        rows={
            name: Row(
                knn=knn(gallery, labels, queries, targets, k),
                linear=linear_probe(gallery, labels, queries, targets),
                five_labels=few_label_probe(gallery, labels, queries, targets),
            )
            for name, (gallery, queries) in features.items()
        },
        classes=classes,
        gallery=len(labels),
        queries=len(targets),
        k=k,
        chance=max(Counter(targets).values()) / len(targets),
    )


def neighbours_for(gallery: int) -> int:
    """Neighbours that vote: the usual 200 from 10,000 items on, 5 in a small gallery."""
    return min(gallery, 5 if gallery < 2000 else min(200, gallery // 50))


def knn(
    gallery: Vectors, labels: Sequence[str], queries: Vectors, targets: Sequence[str], k: int
) -> float:
    """Cosine neighbours vote with weight exp(similarity / 0.1) (Wu et al. 2018, section 3.4)."""
    from sklearn.neighbors import KNeighborsClassifier

    classifier = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / 0.1)
    )
    return float(classifier.fit(gallery, labels).score(queries, targets))


def linear_probe(
    gallery: Vectors, labels: Sequence[str], queries: Vectors, targets: Sequence[str]
) -> float:
    """Logistic regression on standardised features, its strength chosen inside the gallery."""
    from sklearn.model_selection import train_test_split

    strength = 0.01
    if min(Counter(labels).values()) >= 5:
        a, b, a_labels, b_labels = train_test_split(
            gallery, list(labels), test_size=0.2, stratify=labels, random_state=0
        )
        strength = max((0.001, 0.01, 0.1), key=lambda c: _logistic(a, a_labels, b, b_labels, c))
    return _logistic(gallery, labels, queries, targets, strength)


def few_label_probe(
    gallery: Vectors,
    labels: Sequence[str],
    queries: Vectors,
    targets: Sequence[str],
    *,
    each: int = 5,
    draws: int = 10,
) -> float | None:
    """Logistic regression from a handful of labels a class, mean over draws of the handful."""
    names = np.asarray(labels)
    if min(Counter(labels).values()) < each:
        return None
    scores = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        rows = np.concatenate(
            [rng.choice(np.flatnonzero(names == name), each, False) for name in np.unique(names)]
        )
        scores.append(_logistic(gallery[rows], names[rows], queries, targets, 0.1))
    return math.fsum(scores) / draws


def _logistic(
    gallery: Vectors, labels: Any, queries: Vectors, targets: Sequence[str], strength: float
) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000, tol=1e-3))
    return float(probe.fit(gallery, labels).score(queries, targets))
