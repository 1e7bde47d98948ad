"""A graph in memory: what its nodes are called, what they carry, who is linked with whom."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._sparse import pointers


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes with features and undirected links.

    Attributes:
        names: (N,) node ids, as the file has them.
        x: (N, F) float32 features, dense or sparse CSR.
        edges: (2, E) int64, every link once, the smaller row first, no self loops.
        labels: (N,) classes, for evaluation only; an empty string where there is none.
        split: Rows of the split that comes with the data (train, val, test).
        skipped: Nodes and links that could not be read, each with the reason.

    Raises:
        NearfarError: Fewer than three nodes.
    """

    names: list[str]
    x: Tensor
    edges: Tensor
    labels: list[str] | None = None
    split: dict[str, Tensor] | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.names) < 3:
            raise NearfarError(
                f"The graph has {len(self.names)} node(s). Wanted at least 3: every node needs a "
                "node to be told from."
            )

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def links(self) -> tuple[Tensor, Tensor]:
        """Where each node's neighbours begin, (N + 1,), and the neighbours, (2 E,)."""
        row, column = torch.cat([self.edges, self.edges.flip(0)], 1)
        order = (row * len(self) + column).argsort()
        return pointers(row[order], len(self)), column[order]

    @property
    def fingerprint(self) -> str:
        """Changes with names, features and links."""
        content = hashlib.blake2b("\n".join(self.names).encode(), digest_size=8)
        sparse = self.x.layout != torch.strided
        parts = [self.x.col_indices(), self.x.values()] if sparse else [self.x]
        for part in (*parts, self.edges):
            content.update(part.contiguous().numpy().tobytes())
        return content.hexdigest()


def undirected(source: Tensor, target: Tensor, nodes: int) -> Tensor:
    """(2, E): every link once, whichever way and however often it was written; no self loops.

    Example:
        >>> undirected(torch.tensor([1, 0, 2, 2]), torch.tensor([0, 1, 2, 1]), 3).tolist()
        [[0, 1], [1, 2]]
    """
    low, high = torch.minimum(source, target).long(), torch.maximum(source, target).long()
    key = torch.unique((low * nodes + high)[low != high])
    return torch.stack([key // nodes, key % nodes])


def homophily(graph: Graph) -> tuple[float, float] | None:
    """How often a link joins two nodes of one class, and how often chance alone would.

    Chance keeps every node's number of links and shuffles their ends: the sum over classes of the
    squared share of link ends (Newman 2003, Mixing patterns in networks, equation 2).

    Returns:
        Edge homophily and its chance level, 0..1; None without labels or links.
    """
    if graph.labels is None or not graph.edges.shape[1]:
        return None
    number = {label: place for place, label in enumerate(sorted(set(graph.labels)))}
    y = torch.tensor([number[label] for label in graph.labels])
    named = torch.tensor([label != "" for label in graph.labels])
    ends = y[graph.edges[:, named[graph.edges].all(0)]]
    if not ends.shape[1]:
        return None
    share = torch.bincount(ends.flatten(), minlength=len(number)).double() / ends.numel()
    return float((ends[0] == ends[1]).double().mean()), float((share**2).sum())
