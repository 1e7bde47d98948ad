"""Do reads of one species lie together, and does a read find the one that overlaps it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nearfar.errors import NearfarError
from nearfar.probes._labelled import Labelled
from nearfar.probes._scores import Embed, Scores, Vectors


@dataclass(frozen=True, kw_only=True)
class ReadProbe:
    """Species from labels, species without labels, and loci.

    Attributes:
        labelled: Reads with the names of their species; None where there are none.
        overlapping: Percent of overlap to (queries, partners): row i of each are from one locus.
        note: What to mind.
    """

    labelled: Labelled | None
    overlapping: Mapping[int, tuple[Sequence[Any], Sequence[Any]]]
    note: str = ""

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Classifiers as in `Labelled`, k-means, and retrieval.

        Raises:
            NearfarError: Neither labels nor reads long enough to cut.
        """
        rows: dict[str, dict[str, float]] = {name: {} for name in features}
        measures: dict[str, str] = {}
        title, note = [], []
        if self.labelled is not None:
            species = self.labelled.score(features)
            measures |= species.measures | {"ari": "k-means ARI"}
            title.append(species.title)
            note.append(species.note)
            for name, embed in features.items():
                vectors = embed(self.labelled.queries)
                rows[name] = {
                    **species.rows[name],
                    "ari": cluster_agreement(vectors, self.labelled.query_labels),
                }
        for share, (queries, partners) in self.overlapping.items():
            measures[f"overlap_{share}"] = f"R@1 at {share} % overlap"
            for name, embed in features.items():
                rows[name][f"overlap_{share}"] = first_hits(embed(queries), embed(partners))
        if self.overlapping:
            queries, _ = next(iter(self.overlapping.values()))
            title.append(f"{len(queries):,} reads to find by an overlapping one")
            note.append(f"finding one by chance: {1 / len(queries):.4f}")
        note += [self.note] if self.note else []
        if not measures:
            raise NearfarError(
                "There is nothing to judge by: no labels (sub-folders named after species) and no "
                "read of 60 bases or more. Wanted either."
            )
        return Scores(title="; ".join(title), measures=measures, rows=rows, note="; ".join(note))


def cluster_agreement(vectors: Vectors, labels: Sequence[str]) -> float:
    """Adjusted Rand index of k-means, as many clusters as labels: 0 by chance, 1 the labels."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    clusters = KMeans(len(set(labels)), n_init=5, random_state=0).fit_predict(vectors)
    return float(adjusted_rand_score(list(labels), clusters))


def first_hits(queries: Vectors, partners: Vectors) -> float:
    """Share of queries whose nearest vector by cosine, among all partners, is their own."""
    queries, partners = (
        x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (queries, partners)
    )
    nearest = [
        (part @ partners.T).argmax(1) for part in np.array_split(queries, len(queries) // 1000 + 1)
    ]
    return float((np.concatenate(nearest) == np.arange(len(queries))).mean())
