"""Can a classifier read the labels off the vectors?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nearfar.errors import NearfarError
from nearfar.probes._classifiers import few_label_probe, knn, linear_probe, neighbours_for
from nearfar.probes._scores import Embed, Scores


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """Labelled inputs: a classifier learns from some and is tested on others.

    Attributes:
        gallery: Inputs whose labels a classifier may learn from.
        gallery_labels: Their labels.
        queries: Inputs it is tested on.
        query_labels: Their labels.
    """

    gallery: Sequence[Any]
    gallery_labels: Sequence[str]
    queries: Sequence[Any]
    query_labels: Sequence[str]

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Nearest neighbours, a linear probe, and the same from five labels a class.

        Raises:
            NearfarError: Fewer than two classes, or nothing to test on.
        """
        labels, targets = list(self.gallery_labels), list(self.query_labels)
        classes = len(set(labels))
        if classes < 2 or not targets:
            raise NearfarError(
                f"The gallery has {classes} class(es) and there are {len(targets)} queries; "
                "wanted at least two labelled classes (sub-folders) and one query."
            )
        k = neighbours_for(len(labels))
        rows = {}
        for name, embed in features.items():
            gallery, queries = embed(self.gallery), embed(self.queries)
            rows[name] = {
                "knn": knn(gallery, labels, queries, targets, k),
                "linear": linear_probe(gallery, labels, queries, targets),
            }
            few = few_label_probe(gallery, labels, queries, targets)
            if few is not None:
                rows[name]["five_labels"] = few
        commonest = max(Counter(targets).values()) / len(targets)
        return Scores(
            title=f"{len(targets):,} held-out items, {classes} classes",
            measures={
                "knn": f"kNN (k = {k})",
                "linear": "linear probe",
                "five_labels": "5 labels a class",
            },
            rows=rows,
            note=f"always the commonest class: {commonest:.3f}",
        )


def held_out(
    inputs: Sequence[Any],
    labels: Sequence[str] | None,
    share: float = 0.2,
    groups: Sequence[int] | None = None,
) -> Labelled | None:
    """A stratified split: most items teach a classifier, ``share`` of them test it.

    Training does see the held-out items, never their labels.

    Args:
        inputs: N inputs.
        labels: Their labels; None, or a label with fewer than two groups, gives no probe.
        share: What is held out.
        groups: Equal for inputs that show the same, such as copies, or windows of one sequence: all
            of them are held out, or none. By default all differ.
    """
    from sklearn.model_selection import train_test_split

    if labels is None:
        return None
    together: dict[int, list[int]] = {}
    for row, group in enumerate(range(len(labels)) if groups is None else groups):
        together.setdefault(group, []).append(row)
    names = [labels[rows[0]] for rows in together.values()]
    classes, count = set(labels), Counter(names)
    if min(count[name] for name in classes) < 2 or len(labels) * share < len(classes):
        return None
    number = max(math.ceil(share * len(together)), len(classes))
    gallery, queries = (
        [row for rows in part for row in rows]
        for part in train_test_split(
            list(together.values()), test_size=number, stratify=names, random_state=0
        )
    )
    return Labelled(
        gallery=[inputs[row] for row in gallery],
        gallery_labels=[labels[row] for row in gallery],
        queries=[inputs[row] for row in queries],
        query_labels=[labels[row] for row in queries],
    )
