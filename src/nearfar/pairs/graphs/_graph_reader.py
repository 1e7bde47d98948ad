"""From nodes of a graph to what an encoder takes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean
from nearfar.pairs import Inputs, Reader
from nearfar.pairs.graphs._features import Scale, scaled
from nearfar.pairs.graphs._find import read_graph
from nearfar.pairs.graphs._graph import Graph
from nearfar.pairs.graphs._sparse import take_rows
from nearfar.pairs.graphs._views import GraphView, normalised
from nearfar.probes import Embed, NodeSplits, Probe, random_splits


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a graph, as an input."""

    graph: Graph
    row: int


class Nodes(Sequence[Node]):
    """All nodes of a graph as inputs, in the order of its names."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __len__(self) -> int:
        return len(self.graph)

    @overload
    def __getitem__(self, place: int) -> Node: ...

    @overload
    def __getitem__(self, place: slice) -> list[Node]: ...

    def __getitem__(self, place: int | slice) -> Node | list[Node]:
        rows = range(len(self))[place]
        return Node(self.graph, rows) if isinstance(rows, int) else [self[row] for row in rows]

    def __iter__(self) -> Iterator[Node]:
        return (Node(self.graph, row) for row in range(len(self)))


def nodes_of(graph: Graph) -> Inputs:
    """Every node of a graph, as inputs."""
    return Inputs(graph.names, Nodes(graph), graph.labels, graph.skipped)


class GraphReader(Reader):
    """Nodes in their graph, seen whole: nothing dropped, nothing masked.

    Args:
        features: F, how many features a node has.
        scale: See `scaled`.
        hops: How far the encoder looks; A^hops X is one of the baselines.
    """

    batch_size = sys.maxsize
    example = "NODE"

    def __init__(self, features: int, scale: Scale = "rows", hops: int = 2) -> None:
        self.settings = {"features": features, "scale": scale, "hops": hops}
        self.features, self.scale, self.hops = features, scale, hops

    def read(self, inputs: Sequence[Any]) -> GraphView:
        """The whole graph, with the nodes that are asked for.

        Raises:
            NearfarError: No nodes, nodes of two graphs, or other features than in training.
        """
        graph = self._graph(inputs)
        rows = torch.tensor([node.row for node in inputs])
        return GraphView(self.scaled(graph), normalised(graph.edges, len(graph)), rows)

    def prepare(self, batch: GraphView) -> GraphView:
        """A graph is ready as it is read."""
        return batch

    def scaled(self, graph: Graph) -> Tensor:
        """(N, F) features as the encoder sees them."""
        if graph.x.shape[1] != self.features:
            raise NearfarError(
                f"The graph has {graph.x.shape[1]} features a node, the model was made for "
                f"{self.features}. Wanted the graph it learned from, or one with the same columns."
            )
        return scaled(graph.x, self.scale)

    def find(self, path: str) -> Inputs:
        """Every node of the graph at a path."""
        return nodes_of(read_graph(path))

    def one(self, query: str, gallery: Inputs) -> Node:
        """The node of this name."""
        if query not in gallery.names:
            raise NearfarError(
                f"query={query!r}: the graph has no node of this name."
                f"{did_you_mean(query, gallery.names)}"
            )
        node: Node = gallery.items[gallery.names.index(query)]
        return node

    def baselines(self) -> dict[str, Embed]:
        """Features, and the same averaged over neighbours without any training (SGC)."""
        steps = {f"A^{hops} X": hops for hops in sorted({2, self.hops} - {0})}
        return {
            "raw features": lambda inputs: self._smooth(inputs, 0),
            **{name: self._smoother(hops) for name, hops in steps.items()},
        }

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """The graph's own split, or five random ones of 10 / 10 / 80 %."""
        if test is not None:
            raise NearfarError(
                "A graph is judged on a split of its own nodes; leave --test out. The split is "
                "the file's (its masks, or the column `split`), or five random ones."
            )
        if found.labels is None:
            return None
        graph = self._graph(found.items)
        named = np.array([label != "" for label in found.labels])
        if graph.split is None:
            splits = random_splits(found.labels)
            title = "five random splits of 10 / 10 / 80 %"
        else:
            parts = (graph.split[name].numpy() for name in ("train", "val", "test"))
            splits = [tuple(part[named[part]] for part in parts)]
            title = "the data's own split"
        return NodeSplits(items=found.items, labels=found.labels, splits=splits, title=title)

    def _smoother(self, hops: int) -> Embed:
        return lambda inputs: self._smooth(inputs, hops)

    def _smooth(self, inputs: Sequence[Node], hops: int) -> NDArray[np.float32]:
        view = self.read(inputs)
        x = view.x
        if hops == 0:
            x = take_rows(x, view.rows)
            return (x if x.layout == torch.strided else x.to_dense()).numpy()
        x = x if x.layout == torch.strided else x.to_dense()
        for _ in range(hops):
            x = view.adjacency @ x
        return x[view.rows].numpy()

    def _graph(self, inputs: Sequence[Node]) -> Graph:
        if isinstance(inputs, Nodes):
            return inputs.graph
        if not all(isinstance(node, Node) and node.graph is inputs[0].graph for node in inputs):
            raise NearfarError(
                "A graph model embeds the nodes of one graph; wanted "
                "model.reader.find(PATH).items, or some of them."
            )
        return inputs[0].graph
