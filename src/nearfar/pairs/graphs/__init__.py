"""Graphs: reading them, and drawing two views in which neighbours belong together."""

from nearfar.pairs.graphs._features import scaled, scaling
from nearfar.pairs.graphs._find import read_graph
from nearfar.pairs.graphs._graph import Graph, homophily
from nearfar.pairs.graphs._graph_pairs import GraphPairs
from nearfar.pairs.graphs._graph_reader import GraphReader, Node, Nodes, nodes_of
from nearfar.pairs.graphs._positives import Positives, Weighting, Who
from nearfar.pairs.graphs._views import GraphView, drop_edges, mask_features, normalised

__all__ = [
    "Graph",
    "GraphPairs",
    "GraphReader",
    "GraphView",
    "Node",
    "Nodes",
    "Positives",
    "Weighting",
    "Who",
    "drop_edges",
    "homophily",
    "mask_features",
    "nodes_of",
    "normalised",
    "read_graph",
    "scaled",
    "scaling",
]
