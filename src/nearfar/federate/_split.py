"""Rows of a data set, dealt out to clients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.federate._federation import Split

Rows = NDArray[np.int64]


def deal(split: Split, items: int, labels: Sequence[str] | None, seed: int) -> list[Rows]:
    """The rows of each client: disjoint, sorted, of two items or more.

    Args:
        split: How.
        items: Number of items.
        labels: (items,) labels; only ``iid`` does without.
        seed: The same seed deals the same.

    Raises:
        NearfarError: No labels to skew by, labels that nobody would hold, or a client with fewer
            than two items.

    Example:
        >>> rows = deal(Split(clients=2, split="label-skew", classes=1), 4, ["b", "a", "a", "b"], 0)
        >>> sorted(part.tolist() for part in rows)
        [[0, 3], [1, 2]]
    """
    rng = np.random.default_rng([seed, 0xFED])
    if split.split == "iid":
        parts = np.array_split(rng.permutation(items), split.clients)
    else:
        groups = _groups(split, items, labels, rng)
        shares = _skewed if split.split == "label-skew" else _dirichlet
        parts = shares(split, groups, rng)
    few = min(map(len, parts))
    if few < 2:
        raise NearfarError(
            f"clients={split.clients}: a client would hold {few} of the {items} items; wanted 2 or "
            "more, a query and a negative. Take fewer clients, more data, or a larger --alpha."
        )
    return [np.sort(part).astype(np.int64) for part in parts]


def _groups(
    split: Split, items: int, labels: Sequence[str] | None, rng: np.random.Generator
) -> list[Rows]:
    if labels is None or len(labels) != items:
        raise NearfarError(
            f"split={split.split!r} goes by labels, and the data have none for every item. Wanted "
            "labelled data, such as sub-folders, or --split iid."
        )
    names = np.asarray(labels)
    kinds = rng.permutation(np.unique(names))
    return [rng.permutation(np.flatnonzero(names == kind)) for kind in kinds]


def _skewed(split: Split, groups: list[Rows], rng: np.random.Generator) -> list[Rows]:
    """Client c holds the labels c * classes, c * classes + 1, ..., counted in a circle."""
    places = split.clients * split.classes
    if split.classes > len(groups) or places < len(groups):
        raise NearfarError(
            f"clients={split.clients}, classes={split.classes}: {len(groups)} labels; wanted "
            f"at most {len(groups)} of them each, and clients x classes {len(groups)} or more, so "
            "that somebody holds each label."
        )
    holders: list[list[int]] = [[] for _ in groups]
    for place in range(places):
        holders[place % len(groups)].append(place // split.classes)
    parts: list[list[Rows]] = [[] for _ in range(split.clients)]
    for rows, clients in zip(groups, holders, strict=True):
        for client, piece in zip(clients, np.array_split(rows, len(clients)), strict=True):
            parts[client].append(piece)
    return [np.concatenate(pieces) for pieces in parts]


def _dirichlet(split: Split, groups: list[Rows], rng: np.random.Generator) -> list[Rows]:
    parts: list[list[Rows]] = [[] for _ in range(split.clients)]
    for rows in groups:
        shares = rng.dirichlet([split.alpha] * split.clients)
        cuts = (np.cumsum(shares)[:-1] * len(rows)).round().astype(int)
        for client, piece in enumerate(np.split(rows, cuts)):
            parts[client].append(piece)
    return [np.concatenate(pieces) for pieces in parts]
