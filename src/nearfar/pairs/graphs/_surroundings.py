"""The part of a graph that an encoder needs for some nodes: neighbour sampling in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs.graphs._graph import Graph
from nearfar.pairs.graphs._sparse import ranges


def surroundings(graph: Graph, rows: Tensor, hops: int, fanout: int) -> tuple[Tensor, Tensor]:
    """Nodes that lie within some links of the rows, and the links among them.

    Where no node has more than ``fanout`` neighbours these are all; elsewhere as many are drawn
    (Hamilton et al. 2017, GraphSAGE, algorithm 2), so that a hub does not bring the whole graph in.

    Args:
        graph: The whole.
        rows: (N,) nodes that are asked for.
        hops: How far an encoder looks.
        fanout: Neighbours of a node that are followed at a hop.

    Returns:
        (M,) nodes, sorted, the rows among them; (2, E) their links as places in it.
    """
    begin, neighbour = graph.links
    nodes = torch.unique(rows)
    edge = nodes
    for _ in range(hops):
        count = begin[edge + 1] - begin[edge]
        take = count.clamp_max(fanout)
        place = ranges(begin[edge], take)
        many = (count > fanout).repeat_interleave(take)
        chance = (torch.rand(len(place)) * count.repeat_interleave(take)).long()
        chance += begin[edge].repeat_interleave(take)
        found = torch.where(many, chance, place)
        new = torch.unique(torch.cat([nodes, neighbour[found]]))
        edge = new[~torch.isin(new, nodes, assume_unique=True)]
        nodes = new
    count = begin[nodes + 1] - begin[nodes]
    low = torch.arange(len(nodes)).repeat_interleave(count)
    other = neighbour[ranges(begin[nodes], count)]
    high = torch.searchsorted(nodes, other).clamp_max(len(nodes) - 1)
    inside = (nodes[high] == other) & (low < high)
    return nodes, torch.stack([low[inside], high[inside]])
