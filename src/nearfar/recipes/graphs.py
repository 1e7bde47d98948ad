"""Nodes of a graph: a node and its neighbours, seen in two thinned-out copies, belong together.

Two views of a graph each lose some links and some features at random. A node's positives in the
other view are the node itself and its neighbours in the whole graph; every other node is a
negative. What is said here is that linked nodes are alike; where most links join unlike nodes,
compare ``--positives self`` and ``--hops 0``.
(Zhu et al. 2020, GRACE, arXiv 2006.04131; neighbours as positives: Shen et al. 2023, NCLA, arXiv
2301.01404.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.encoders import GCN
from nearfar.errors import check_range
from nearfar.experiment import Experiment, Objective
from nearfar.loss import InfoNCE, Temperature
from nearfar.loss._engine import Products
from nearfar.loss._weights import Form
from nearfar.model import Model
from nearfar.pairs.graphs import (
    GraphPairs,
    GraphReader,
    Positives,
    Weighting,
    Who,
    nodes_of,
    read_graph,
    scaled,
    scaling,
)
from nearfar.recipes._links import link_exhibit, remarks

# Nodes a step where the user says nothing: the whole graph, as long as that takes a second or two.
_LARGEST = 4096


def graphs(
    path: str,
    positives: Who = "neighbours",
    weighting: Weighting = "equal",
    edge_drop: float = 0.4,
    feature_mask: float = 0.5,
    temperature: float = 0.5,
    form: Form = "out",
    intra_view: bool = False,
    products: Products = "exact",
    width: int = 512,
    layers: int = 1,
    hops: int = 4,
) -> Experiment:
    """Learn from one graph.

    Args:
        path: A Planetoid set (folder/ind.cora), .npz, a PyG Data (.pt), or a folder with edges and
            nodes as .csv or .parquet.
        positives: neighbours (and the node itself), or self.
        weighting: Neighbours count equal, or less by degree.
        edge_drop: Share of the links that a view leaves out, both directions together.
        feature_mask: Share of the features that a view leaves out.
        temperature: How sharply hard negatives are weighted; low is sharp.
        form: The mean over positives outside the logarithm (out), or their sum inside it (in).
        intra_view: The nodes of a query's own view are candidates too, its neighbours as positives.
        products: bf16 multiplies similarities in bfloat16, about twice as fast where the processor
            does; exact in the vectors' own precision.
        width: Numbers in a vector.
        layers: Linear maps, with a ReLU between them.
        hops: Averages over neighbours in each layer; 0 leaves links to the positives alone.
    """
    check_range(1, layers=layers, width=width)
    check_range(0, hops=hops)
    check_range(0, 1, "[)", edge_drop=edge_drop, feature_mask=feature_mask)
    tau = Temperature(temperature)
    graph = read_graph(path)
    how = scaling(graph.x)
    reader = GraphReader(graph.x.shape[1], how, layers * hops)
    inputs = nodes_of(graph)
    return Experiment(
        model=Model(reader, GCN(graph.x.shape[1], width, layers, hops)),
        pairs=GraphPairs(
            graph,
            scaled(graph.x, how),
            Positives(graph, positives, weighting),
            edge_drop=edge_drop,
            feature_mask=feature_mask,
            hops=layers * hops,
            same_nodes=intra_view,
        ),
        objective=_objective(tau, intra_view, form=form, products=products),
        temperature=tau,
        inputs=inputs.items,
        labels=graph.labels,
        probe=reader.probe(inputs),
        skipped=graph.skipped,
        remarks=remarks(graph, positives == "neighbours", hops),
        exhibits=lambda model: [link_exhibit(graph, model)],
        steps=100,
        batch_size=min(len(graph), _LARGEST),
    )


def _objective(temperature: Temperature, intra_view: bool, **options: Any) -> Objective:
    one_view = InfoNCE(temperature, **options)
    two_views = InfoNCE(temperature, symmetric=True, **options)

    def between(query: Tensor, key: Tensor, *, ids: Tensor, weight: Tensor) -> Tensor:
        # The weights say all about who is who: every node is in a batch once.
        loss: Tensor = two_views(query, key, weight=weight)
        return loss

    def among(query: Tensor, key: Tensor, *, ids: Tensor, weight: Tensor) -> Tensor:
        every, twice = torch.cat([query, key]), torch.cat([ids, ids])
        loss: Tensor = one_view(every, every, weight=within(weight), ids=twice)
        return loss

    return among if intra_view else between


def within(weight: Tensor) -> Tensor:
    """Weights between two views to weights among the nodes of both, as NCLA has them.

    Args:
        weight: (N, N) sparse, the same nodes in the same order in both views.

    Returns:
        (2N, 2N) sparse: the other view's positives, and the neighbours in one's own view.
    """
    (row, column), value, n = weight.indices(), weight.values(), len(weight)
    other = row != column
    a, b, own = row[other], column[other], value[other]
    rows = torch.cat([row, row + n, a, a + n])
    columns = torch.cat([column + n, column, b, b + n])
    values = torch.cat([value, value, own, own])
    index = torch.stack([rows, columns])
    return torch.sparse_coo_tensor(index, values, (2 * n, 2 * n), check_invariants=False)
