"""Can a classifier read a node's class off its vector, as the literature on graphs asks it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._scores import Embed, Scores, Vectors

# Rows to learn from, to choose the strength by, and to be tested on.
Split = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
_STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-4, 7))
_CLUSTERED = 3000


@dataclass(frozen=True, kw_only=True)
class NodeSplits:
    """Logistic regression on frozen vectors, its strength chosen on validation nodes.

    Vectors are scaled to length one. The nodes that test were seen in training, with their links
    and never with their labels, as is usual for graphs (transductive).

    Attributes:
        items: N nodes.
        labels: (N,) their classes.
        splits: One, or several to average over.
        title: What the splits are: ``the data's own split``.
    """

    items: Sequence[Any]
    labels: Sequence[str]
    splits: Sequence[Split]
    title: str

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Test and validation accuracy, and how well k-means finds the classes.

        Raises:
            NearfarError: A split without labelled nodes to learn from, to choose or to test by.
        """
        labels = np.asarray(self.labels)
        for split in self.splits:
            if min(map(len, split)) == 0 or len(set(labels[split[0]])) < 2:
                raise NearfarError(
                    "The split has no labelled nodes of two classes to learn from, or none to "
                    "choose or to test by. Wanted all three, or no split for random ones."
                )
        rows, spread = {}, []
        for name, embed in features.items():
            vectors = _unit(embed(self.items))
            every = [node_probe(vectors, labels, split) for split in self.splits]
            test, validation = np.array(every).T
            rows[name] = {
                "accuracy": float(test.mean()),
                "validation": float(validation.mean()),
                "nmi": _nmi(vectors, labels),
            }
            if len(test) > 1:
                spread.append(f"{name} {test.std(ddof=1):.3f}")
        tested = labels[self.splits[0][2]]
        note = f"always the commonest class: {max(Counter(tested).values()) / len(tested):.3f}"
        return Scores(
            title=f"{len(tested):,} test nodes, {len(set(tested))} classes, {self.title}",
            measures={"accuracy": "accuracy", "validation": "validation", "nmi": "k-means NMI"},
            rows=rows,
            note=note + ("; deviation over splits: " + ", ".join(spread) if spread else ""),
        )


def node_probe(vectors: Vectors, labels: NDArray[Any], split: Split) -> tuple[float, float]:
    """Accuracy on the test nodes and on the validation nodes that chose the strength."""
    from sklearn.linear_model import LogisticRegression

    train, val, test = split
    if vectors.shape[1] > len(train):
        # The best weights lie in the span of the training rows: the same classifier, found sooner.
        vectors = vectors @ np.linalg.qr(vectors[train].T)[0]
    best: tuple[float, Any] = (-1.0, None)
    for strength in _STRENGTHS:
        probe = LogisticRegression(C=strength, max_iter=2000, tol=1e-3)
        score = probe.fit(vectors[train], labels[train]).score(vectors[val], labels[val])
        if score > best[0]:
            best = (float(score), probe)
    return float(best[1].score(vectors[test], labels[test])), best[0]


def random_splits(
    labels: Sequence[str], draws: int = 5, share: float = 0.1, seed: int = 0
) -> list[Split]:
    """Random splits: a tenth of the labelled nodes to learn from, a tenth to choose by.

    Source: Zhu et al. 2021 (GCA, arXiv 2010.14945, section 4.1) and Thakoor et al. 2022 (BGRL).

    Args:
        labels: (N,) classes; empty where a node has none.
        draws: How many.
        share: Of the nodes that train, and as many again that validate.
        seed: The same seed gives the same splits.
    """
    named = np.flatnonzero([label != "" for label in labels])
    count = max(1, round(share * len(named)))
    splits = []
    for draw in range(draws):
        order = np.random.default_rng([seed, draw]).permutation(named)
        splits.append((order[:count], order[count : 2 * count], order[2 * count :]))
    return splits


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(length, np.float32(1e-12))
    return unit


def _nmi(vectors: Vectors, labels: NDArray[Any]) -> float:
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    named = np.flatnonzero(labels != "")
    some = np.random.default_rng(0).permutation(named)[:_CLUSTERED]
    classes = len(set(labels[some]))
    found = KMeans(classes, n_init=5, random_state=0).fit_predict(vectors[some])
    return float(normalized_mutual_info_score(labels[some], found))
