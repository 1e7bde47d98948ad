"""A graph convolutional network: linear maps between averages over neighbours."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder
from nearfar.errors import NearfarError


class GraphInput(Protocol):
    """What a `GCN` takes.

    Attributes:
        x: (M, F) features, dense or sparse CSR.
        adjacency: (M, M) normalised, sparse CSR.
        rows: (N,) the nodes whose vectors are wanted.
    """

    x: Tensor
    adjacency: Tensor
    rows: Tensor


class GCN(Encoder):
    """Layers of A^hops X W + b with a ReLU between them.

    With one hop a layer this is Kipf & Welling 2017 (arXiv 1609.02907, equation 2); one layer of
    several hops is SGC (Wu et al. 2019, arXiv 1902.07153, equation 8). PyTorch Geometric passes
    the messages.

    Args:
        dim_in: F, features of a node.
        width: Width of every layer and of the vectors.
        layers: How many linear maps.
        hops: Averages over neighbours in each layer; none with 0.

    Raises:
        NearfarError: PyTorch Geometric is not installed.

    Shapes:
        a graph of M nodes, N of them asked for -> (N, width)
    """

    def __init__(self, dim_in: int, width: int = 512, layers: int = 1, hops: int = 4) -> None:
        super().__init__()
        self.settings = {"dim_in": dim_in, "width": width, "layers": layers, "hops": hops}
        self.dim, self.hops = width, hops
        widths = [dim_in] + [width] * layers
        self.maps = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width)) for _ in range(layers))
        for parameter in self.maps.parameters():
            nn.init.xavier_uniform_(parameter)
        self.average = _message_passing()

    def forward(self, view: GraphInput) -> Tensor:
        h = view.x
        for layer, (linear, bias) in enumerate(zip(self.maps, self.biases, strict=True)):
            h = _applied(linear, torch.relu(h) if layer else h)
            # Sparse products know no half precision, and sums over neighbours deserve more.
            with torch.autocast(h.device.type, enabled=False):
                h = h.float()
                for _ in range(self.hops):
                    h = self.average(h, view.adjacency)
                h = h + bias
        return h[view.rows]


def _applied(linear: nn.Module, h: Tensor) -> Tensor:
    with torch.autocast(h.device.type, enabled=False) if h.is_sparse_csr else nullcontext():
        out: Tensor = linear(h)
    return out


def _message_passing() -> nn.Module:
    try:
        with warnings.catch_warnings():
            # Its import compiles TorchScript, which torch has deprecated.
            warnings.simplefilter("ignore")
            from torch_geometric.nn import SimpleConv
    except ModuleNotFoundError as error:
        raise NearfarError(
            "Graphs need PyTorch Geometric, which is not installed: pip install 'nearfar[graphs]'"
        ) from error
    module: nn.Module = SimpleConv(aggr="sum")
    return module
