"""Who belongs to whom: a node and its neighbours, as sparse weights."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nearfar.pairs.graphs._graph import Graph
from nearfar.pairs.graphs._sparse import pointers, ranges

Who = Literal["neighbours", "self"]
Weighting = Literal["equal", "degree"]


class Positives:
    """w_ij >= 0: how much node j, seen in the other view, is a positive of node i.

    Links are those of the whole graph, whatever a view has dropped. Only the sum over links and
    nodes is in memory, never N x N.

    Args:
        graph: N nodes; a node without links has itself alone.
        who: ``neighbours``: a node and its neighbours; ``self``: the node alone.
        weighting: ``equal``: 1 / |P(i)| each. ``degree``: in proportion to 1 / sqrt(d_i d_j), d
            counting the node itself, so that a neighbour that everyone has counts less.
    """

    def __init__(
        self, graph: Graph, who: Who = "neighbours", weighting: Weighting = "equal"
    ) -> None:
        nodes = torch.arange(len(graph))
        begin, neighbour = graph.links
        degree = begin.diff()
        row, column = nodes, nodes
        if who == "neighbours":
            row = torch.cat([nodes, nodes.repeat_interleave(degree)])
            column = torch.cat([nodes, neighbour])
        order = (row * len(graph) + column).argsort()
        row, self.column = row[order], column[order]
        self.begin = pointers(row, len(graph))
        weight = torch.ones(len(row))
        if weighting == "degree":
            weight = ((degree[row] + 1) * (degree[self.column] + 1)).float().rsqrt()
        sums = torch.zeros(len(graph)).index_add(0, row, weight)
        self.weight = weight / sums[row]

    def among(self, rows: Tensor, keys: Tensor) -> Tensor:
        """The weights between some queries and some keys.

        Args:
            rows: (N,) nodes that ask.
            keys: (M,) nodes that answer; a node may be there several times.

        Returns:
            (N, M) sparse COO.
        """
        count = self.begin[rows + 1] - self.begin[rows]
        place = ranges(self.begin[rows], count)
        query = torch.arange(len(rows)).repeat_interleave(count)
        ordered, order = keys.sort(stable=True)
        first = torch.searchsorted(ordered, self.column[place])
        times = torch.searchsorted(ordered, self.column[place], right=True) - first
        key = order[ranges(first, times)]
        index = torch.stack([query.repeat_interleave(times), key])
        value = self.weight[place].repeat_interleave(times)
        shape = (len(rows), len(keys))
        return torch.sparse_coo_tensor(index, value, shape, check_invariants=False).coalesce()

    def sample(self, rows: Tensor) -> Tensor:
        """One positive of each node, drawn by weight, (N,).

        Pulling towards it is, on average, pulling towards the weighted mean of all of them.
        """
        upto = self.weight.double().cumsum(0)
        before = torch.cat([upto.new_zeros(1), upto])
        low, high = before[self.begin[rows]], before[self.begin[rows + 1]]
        place = torch.searchsorted(upto, low + torch.rand(len(rows)).double() * (high - low))
        last = self.begin[rows + 1] - 1
        return self.column[place.clamp(self.begin[rows], last)]
