"""The game of one batch, in the numbers that the report draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.anatomy import (
    Game,
    Margin,
    advise,
    collapsed_step,
    hardest_share,
    health,
    label_numbers,
    margin,
    play,
)
from nearfar.report._snapshot import Snapshot


@dataclass(frozen=True)
class Hard:
    """A negative that pushes hard.

    Attributes:
        query: Row of the query's item.
        key: Row of the negative's item.
        similarity: Their cosine.
        share: p_j, its share of that query's game.
    """

    query: int
    key: int
    similarity: float
    share: float


@dataclass(frozen=True)
class Look:
    """The snapshot's game.

    Attributes:
        query: (B, P) unit projections.
        key: (B, P), row i the partner of query i.
        crowd: (B, B) bool, True where a key is a query's negative.
        game: The game, query by query.
        margin: What it says about the crowd.
        positive: (B,) cosines of partners.
        negative: Cosines of strangers, up to B (B - 1).
        hardest: The negatives that take the greatest share of a query's game.
        advice: What to change, in sentences.
    """

    query: Tensor
    key: Tensor
    crowd: Tensor
    game: Game
    margin: Margin
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    hardest: list[Hard]
    advice: list[str]


def look(snapshot: Snapshot, lines: list[dict[str, float]], count: int = 12) -> Look:
    """Play the snapshot's game and think about it.

    Args:
        snapshot: Of the run's end.
        lines: The run's metrics.
        count: How many of the hardest negatives to show, one a query at most.
    """
    query, key = torch.from_numpy(snapshot.query).double(), torch.from_numpy(snapshot.key).double()
    tau, crowd = float(snapshot.temperature), torch.from_numpy(snapshot.crowd)
    game = play(query, key, tau, mask=crowd)
    similarity = (query @ key.T).numpy()
    # p_j: the push's share of a negative, of what the partner has left to all of them.
    share = game.share[:, 0] * -torch.expm1(-game.loss)
    order = share.argsort(descending=True)[:count].tolist()
    first = game.hardest[:, 0].tolist()
    labels = label_numbers([str(label) for label in snapshot.labels[: len(query)]])
    grown = collapsed_step([line["length_middle"] for line in lines if "length_middle" in line])
    advice = [*health(torch.from_numpy(snapshot.vectors)).warnings]
    if snapshot.in_batch:
        advice += advise(game, float(hardest_share(query, key, tau, mask=crowd).mean()), labels)
    advice += [] if grown is None else [grown]
    return Look(
        query=query,
        key=key,
        crowd=crowd,
        game=game,
        margin=margin(game),
        positive=np.diag(similarity),
        negative=similarity[snapshot.crowd],
        hardest=[
            Hard(row, first[row], float(similarity[row, first[row]]), float(share[row]))
            for row in order
        ],
        advice=advice,
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
