"""Does a thing seen again find itself among all others?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._scores import Embed, Scores, Vectors


@dataclass(frozen=True, kw_only=True)
class Retrieval:
    """Queries that each have a partner in the gallery.

    Attributes:
        gallery: N things.
        targets: Row of the gallery that each query should find.
        queries: Those things, seen again: turned and shifted.
        right_angles: Those things, turned by multiples of 90 degrees and not shifted. Nothing is
            interpolated anew, so they prove little and are reported apart.
        ids: Of the gallery; equal for copies, of which any is a hit. By default all differ.
        clustered: k-means sees at most this many of the things.
        note: What to mind.
    """

    gallery: Sequence[Any]
    targets: Sequence[int]
    queries: Sequence[Any]
    right_angles: Sequence[Any]
    ids: Sequence[int] | None = None
    clustered: int = 200
    note: str = ""

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Retrieval, same against different, and clusters.

        All features are standardised by the gallery before the cosine is taken, so that no
        baseline loses by its units.

        Raises:
            NearfarError: Fewer than two things to tell apart.
        """
        ids = np.asarray(range(len(self.gallery)) if self.ids is None else self.ids)
        if len(set(ids.tolist())) < 2 or not len(self.queries):
            raise NearfarError(
                f"The gallery holds {len(set(ids.tolist()))} different thing(s) and there are "
                f"{len(self.queries)} queries; wanted two or more to tell apart."
            )
        wanted = ids[np.asarray(self.targets)]
        rows = {name: self._judge(embed, ids, wanted) for name, embed in features.items()}
        return Scores(
            title=f"{len(self.queries):,} places turned and shifted, among {len(self.gallery):,}",
            measures={
                "top1": "R@1",
                "top5": "R@5",
                "right_angles": "R@1 at 90°",
                "auroc": "AUROC",
                "gap": "gap",
                "ari": "ARI",
                "nmi": "NMI",
            },
            rows=rows,
            note=f"Chance R@1: {1 / len(self.gallery):.4f}. 90°: turned by multiples of it, not "
            "shifted, apart because nothing is interpolated anew. AUROC: same or different place, "
            "by cosine. Gap: the 5th percentile of the same place's cosine less the mean of "
            "different ones', 0 for a collapsed encoder. ARI, NMI: k-means of three views of each "
            f"place, against the places.{f' {self.note}' if self.note else ''}",
        )

    def _judge(
        self, embed: Embed, ids: NDArray[np.int64], wanted: NDArray[np.int64]
    ) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score

        raw = [embed(self.gallery), embed(self.queries), embed(self.right_angles)]
        gallery, queries, right = (standardised(part, raw[0]) for part in raw)
        cosine = queries @ gallery.T
        same = wanted[:, None] == ids[None]
        plain = unit(raw[1]) @ unit(raw[0]).T
        ari, nmi = self._clusters([gallery, queries, right], wanted)
        return {
            "top1": hits(cosine, same, 1),
            "top5": hits(cosine, same, 5),
            "right_angles": hits(right @ gallery.T, same, 1),
            "auroc": float(roc_auc_score(same.ravel(), cosine.ravel())),
            "gap": float(np.percentile(plain[same], 5) - plain[~same].mean()),
            "ari": ari,
            "nmi": nmi,
        }

    def _clusters(self, views: list[Vectors], wanted: NDArray[np.int64]) -> tuple[float, float]:
        """Several views of each thing, k-means with as many clusters as things."""
        from sklearn.cluster import KMeans
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        chosen = np.unique(np.linspace(0, len(wanted) - 1, self.clustered).round().astype(int))
        rows = np.asarray(self.targets)[chosen]
        points = np.concatenate([views[0][rows], views[1][chosen], views[2][chosen]])
        names = np.tile(wanted[chosen], 3)
        means = KMeans(len(set(names.tolist())), n_init=3, random_state=0).fit_predict(points)
        return (
            float(adjusted_rand_score(names, means)),
            float(normalized_mutual_info_score(names, means)),
        )


def unit(x: Vectors) -> Vectors:
    """Rows of length one."""
    out: Vectors = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return out


def standardised(x: Vectors, by: Vectors) -> Vectors:
    """Unit rows, after each column has lost the mean of ``by`` and its deviation became one.

    A column that is nearly constant (pixels at the rim of a disk) is scaled by a twentieth of the
    mean deviation instead: divided by its own, its noise would drown the others.
    """
    spread = by.std(0)
    return unit((x - by.mean(0)) / np.maximum(spread, max(0.05 * spread.mean(), 1e-12)))


def hits(cosine: Vectors, same: NDArray[np.bool_], k: int) -> float:
    """Share of the queries that have a partner among their ``k`` nearest; ties count against it."""
    best = np.where(same, cosine, -np.inf).max(1, keepdims=True)
    # Cosines of equal vectors differ by rounding.
    ahead = ((cosine > best - 1e-6) & ~same).sum(1)
    return float((ahead < k).mean())
