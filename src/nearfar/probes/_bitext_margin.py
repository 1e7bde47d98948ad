"""Margin scores: how much nearer two sentences are than their neighbourhoods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._scores import Vectors

# Rows of similarities in memory at a time.
_ROWS = 512


@dataclass(frozen=True)
class Margin:
    """The ratio margin of two sets of vectors.

    The similarity of x and y is divided by the mean similarity of both to their k nearest
    neighbours on the other side: Artetxe & Schwenk 2019 (arXiv 1811.01136), equation 2 with
    "ratio". A sentence that is near to everything ("hub") loses by it.

    Attributes:
        left: (N, D) unit vectors.
        right: (M, D) unit vectors.
        near_left: (N,) mean cosine to the k nearest on the right.
        near_right: (M,) mean cosine to the k nearest on the left.
    """

    left: Vectors
    right: Vectors
    near_left: NDArray[np.float32]
    near_right: NDArray[np.float32]

    @classmethod
    def of(cls, left: Vectors, right: Vectors, k: int = 4) -> Margin:
        """Look for the neighbours.

        Args:
            left: (N, D).
            right: (M, D).
            k: Neighbours; at most as many as there are.

        Raises:
            NearfarError: Nothing on a side, or ``k`` below one.
        """
        if k < 1 or not len(left) or not len(right):
            raise NearfarError(
                f"k={k}, {len(left)} and {len(right)} vectors: wanted k of 1 or more, and vectors "
                "on both sides."
            )
        left, right = _unit(left), _unit(right)
        return cls(left, right, _nearness(left, right, k), _nearness(right, left, k))

    def scores(self) -> Iterator[tuple[slice, Vectors, Vectors]]:
        """Rows of the left, their cosines (rows, M) and their margins (rows, M), part by part."""
        for begin in range(0, len(self.left), _ROWS):
            rows = slice(begin, begin + _ROWS)
            cosine = self.left[rows] @ self.right.T
            mean = (self.near_left[rows, None] + self.near_right) / np.float32(2)
            # Neighbours at right angles, or beyond, are no yardstick.
            margin: Vectors = cosine / np.maximum(mean, np.float32(1e-3))
            yield rows, cosine, margin

    def candidates(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Every sentence's best partner on the other side, one to one, the surest first.

        Forward and backward candidates together, and greedily the best of those that are left
        (section 3.2 of the paper, "max").

        Returns:
            Rows of the left, rows of the right, margins; falling.
        """
        forward = np.empty(len(self.left), dtype=np.int64)
        forward_score = np.empty(len(self.left), dtype=np.float32)
        backward = np.zeros(len(self.right), dtype=np.int64)
        backward_score = np.full(len(self.right), -np.inf, dtype=np.float32)
        for rows, _, margin in self.scores():
            forward[rows] = margin.argmax(1)
            forward_score[rows] = margin.max(1)
            best = margin.max(0)
            better = best > backward_score
            backward[better] = margin.argmax(0)[better] + rows.start
            backward_score[better] = best[better]
        left = np.concatenate([np.arange(len(self.left)), backward])
        right = np.concatenate([forward, np.arange(len(self.right))])
        score = np.concatenate([forward_score, backward_score])
        return _one_to_one(left, right, score)


def _one_to_one(
    left: NDArray[np.int64], right: NDArray[np.int64], score: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    taken_left, taken_right, kept = set(), set(), []
    order = np.argsort(-score, kind="stable")
    for place, one, two in zip(
        order.tolist(), left[order].tolist(), right[order].tolist(), strict=True
    ):
        if one not in taken_left and two not in taken_right:
            taken_left.add(one)
            taken_right.add(two)
            kept.append(place)
    chosen = np.array(kept, dtype=np.int64)
    return left[chosen], right[chosen], score[chosen]


def _nearness(queries: Vectors, others: Vectors, k: int) -> NDArray[np.float32]:
    """Mean cosine of each query to its k nearest."""
    import faiss

    index = faiss.IndexFlatIP(others.shape[1])
    index.add(np.ascontiguousarray(others))
    similarity, _ = index.search(np.ascontiguousarray(queries), min(k, len(others)))
    mean: NDArray[np.float32] = similarity.mean(1)
    return mean


def _unit(x: Vectors) -> Vectors:
    out: Vectors = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(
        np.float32
    )
    return out
