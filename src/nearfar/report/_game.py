"""The game of one batch, in the numbers that the report draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.report._snapshot import Snapshot


@dataclass(frozen=True)
class Hard:
    """A negative that pushes hard.

    Attributes:
        query: Row of the query's item.
        key: Row of the negative's item.
        similarity: Their cosine.
        share: Its share of that query's push.
    """

    query: int
    key: int
    similarity: float
    share: float


@dataclass(frozen=True)
class Game:
    """Similarities of partners and strangers.

    Attributes:
        positive: (B,) cosines of partners.
        negative: (B (B - 1),) cosines of strangers.
        alpha: Mean cosine of partners.
        beta: The level of the crowd: tau log mean exp(s / tau) over the negatives.
        margin: The effective margin beta + tau ln K, K negatives a query: with all negatives at
            beta the loss is exactly softplus((margin - alpha) / tau).
        hardest: The negatives that take the greatest share of a query's push.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    alpha: float
    beta: float
    margin: float
    hardest: list[Hard]


def play(snapshot: Snapshot, count: int = 12) -> Game:
    """Play the snapshot's game, every other row's key a negative."""
    tau = float(snapshot.temperature)
    similarity = snapshot.query.astype(np.float64) @ snapshot.key.astype(np.float64).T
    stranger = ~np.eye(len(similarity), dtype=bool)
    negative = similarity[stranger]
    top = negative.max()
    beta = float(top + tau * np.log(np.mean(np.exp((negative - top) / tau))))
    logits = np.exp((similarity - similarity.max(1, keepdims=True)) / tau)
    shares = np.where(stranger, logits / logits.sum(1, keepdims=True), 0)
    # One per query, so that a single odd item does not fill the page.
    order = np.argsort(-shares.max(1))[:count]
    hardest = [
        Hard(int(i), int(j), float(similarity[i, j]), float(shares[i, j]))
        for i, j in zip(order, shares[order].argmax(1), strict=True)
    ]
    alpha = float(np.diag(similarity).mean())
    return Game(
        positive=np.diag(similarity),
        negative=negative,
        alpha=alpha,
        beta=beta,
        margin=float(beta + tau * np.log(len(similarity) - 1)),
        hardest=hardest,
    )


@dataclass(frozen=True)
class Neighbour:
    """An item near another.

    Attributes:
        row: Its row in the snapshot.
        similarity: Cosine.
        same: Whether the labels agree; None without labels.
    """

    row: int
    similarity: float
    same: bool | None


def neighbours(snapshot: Snapshot, queries: int = 8, k: int = 7) -> list[list[Neighbour]]:
    """The nearest items of the first few, by exact cosine; the first of each list is the query."""
    similarity = snapshot.vectors @ snapshot.vectors.T
    np.fill_diagonal(similarity, -np.inf)
    labelled = bool(snapshot.labels[0])
    table = []
    for query in range(min(queries, len(similarity))):
        rows = np.argsort(-similarity[query])[: min(k, len(similarity) - 1)]
        table.append(
            [Neighbour(query, 1.0, None)]
            + [
                Neighbour(
                    int(row),
                    float(similarity[query, row]),
                    bool(snapshot.labels[row] == snapshot.labels[query]) if labelled else None,
                )
                for row in rows
            ]
        )
    return table
