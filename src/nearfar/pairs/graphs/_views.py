"""Two ways to see a graph differently: links left out, features left out."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs.graphs._geometric import geometric
from nearfar.pairs.graphs._sparse import csr, pointers


class GraphView:
    """What a graph encoder takes.

    Args:
        x: (M, F) features, dense or sparse CSR.
        adjacency: (M, M) sparse CSR, see `normalised`.
        rows: (N,) the nodes that are asked for; the others are their surroundings.
    """

    def __init__(self, x: Tensor, adjacency: Tensor, rows: Tensor) -> None:
        self.x, self.adjacency, self.rows = x, adjacency, rows

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device | str) -> GraphView:
        """The same on a device."""
        return GraphView(*(part.to(device) for part in (self.x, self.adjacency, self.rows)))


def normalised(edges: Tensor, nodes: int) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 (Kipf & Welling 2017, equation 2), (nodes, nodes) sparse CSR.

    Args:
        edges: (2, E), every link once.
        nodes: How many nodes there are.
    """
    with geometric():
        from torch_geometric.nn.conv.gcn_conv import gcn_norm

    both, weight = gcn_norm(torch.cat([edges, edges.flip(0)], 1), num_nodes=nodes)
    row, column = both
    order = (row * nodes + column).argsort()
    return csr(pointers(row[order], nodes), column[order], weight[order], (nodes, nodes))


def drop_edges(edges: Tensor, share: float) -> Tensor:
    """Leave links out, each with the same chance; both of its directions go together.

    Args:
        edges: (2, E), every link once.
        share: Chance to go, 0..1.

    Example:
        >>> drop_edges(torch.tensor([[0, 1], [1, 2]]), 0.0).tolist()
        [[0, 1], [1, 2]]
    """
    return edges[:, torch.rand(edges.shape[1], device=edges.device) >= share]


def mask_features(x: Tensor, share: float) -> Tensor:
    """Set features to zero, every node its own.

    GRACE (Zhu et al. 2020) masks the same features in all nodes; with an encoder that averages over
    neighbours, masking each node's on its own did better or as well (docs/graphs.md).

    Args:
        x: (N, F), dense or CSR.
        share: Chance of an entry to go, 0..1.
    """
    if x.layout == torch.strided:
        return x * (torch.rand_like(x) >= share)
    value = x.values() * (torch.rand_like(x.values()) >= share)
    return csr(x.crow_indices(), x.col_indices(), value, (x.shape[0], x.shape[1]))
