"""Two views of a graph; a node's positives are itself and its neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs import Batch
from nearfar.pairs.graphs._graph import Graph
from nearfar.pairs.graphs._positives import Positives
from nearfar.pairs.graphs._sparse import take_rows
from nearfar.pairs.graphs._surroundings import surroundings
from nearfar.pairs.graphs._views import GraphView, drop_edges, mask_features, normalised


class GraphPairs:
    """Random views of a graph, or of parts of it.

    A batch of all nodes is the graph itself. A smaller batch has the nodes it was asked for and
    their surroundings; the key of a query is then one of its positives, drawn by weight, and other
    positives that happen to be among the keys count too.

    Args:
        graph: N nodes.
        x: (N, F) their features as the encoder sees them.
        positives: Who belongs to whom.
        edge_drop: Share of the links that a view leaves out.
        feature_mask: Share of the features that a view leaves out.
        hops: How far the encoder looks, for batches smaller than the graph.
        fanout: Neighbours of a node that such a batch follows at a hop.
        same_nodes: Keys are always the queries' own nodes, also in such a batch.
    """

    def __init__(
        self,
        graph: Graph,
        x: Tensor,
        positives: Positives,
        *,
        edge_drop: float,
        feature_mask: float,
        hops: int,
        fanout: int = 10,
        same_nodes: bool = False,
    ) -> None:
        self.graph, self.x, self.positives = graph, x, positives
        self.edge_drop, self.feature_mask = edge_drop, feature_mask
        self.hops, self.fanout, self.same_nodes = hops, fanout, same_nodes
        self.fingerprint = graph.fingerprint

    def __len__(self) -> int:
        return len(self.graph)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two views, and the weights of the positives between them."""
        own = self.same_nodes or len(rows) == len(self)
        keys = rows if own else self.positives.sample(rows)
        weight = self.positives.among(rows, keys)
        with torch.no_grad():
            query, key = self._view(rows, device), self._view(keys, device)
        return Batch(query, key, rows.to(device), weight.to(device))

    def names(self, rows: Tensor) -> list[str]:
        return [self.graph.names[row] for row in rows.tolist()]

    def _view(self, rows: Tensor, device: torch.device) -> GraphView:
        if len(rows) == len(self):
            x, edges, places = self.x, self.graph.edges, rows
        else:
            nodes, edges = surroundings(self.graph, rows, self.hops, self.fanout)
            x, places = take_rows(self.x, nodes), torch.searchsorted(nodes, rows)
        edges = drop_edges(edges.to(device), self.edge_drop)
        x = mask_features(x.to(device), self.feature_mask)
        return GraphView(x, normalised(edges, x.shape[0]), places.to(device))
