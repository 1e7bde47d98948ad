"""Classifiers on frozen features: nearest neighbours, logistic regression, a handful of labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from nearfar.probes._scores import Vectors


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
