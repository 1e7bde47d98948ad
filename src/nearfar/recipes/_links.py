"""What links say: about the classes before training, about the vectors after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nearfar.experiment import Exhibit
from nearfar.model import Model
from nearfar.pairs.graphs import Graph, Nodes, homophily

_PAIRS = 20_000


def remarks(graph: Graph, neighbours: bool, hops: int) -> list[str]:
    """How often links join nodes of one class, against chance; training never sees the classes.

    Args:
        graph: With labels, or there is nothing to remark.
        neighbours: Neighbours are positives.
        hops: Averages over neighbours in a layer.
    """
    found = homophily(graph)
    if found is None:
        return []
    same, chance = found
    lines = [
        f"{same:.0%} of the links join two nodes of one class (edge homophily); by chance it "
        f"would be {chance:.0%}."
    ]
    advice = ["--positives self"] * neighbours + ["--hops 0"] * (hops > 0)
    if same < 0.5 and advice:
        lines.append(
            "Most neighbours are of another class: averages over them, and neighbours as "
            f"positives, mix classes. Compare {' and '.join(advice)}."
        )
    return lines


def link_exhibit(graph: Graph, model: Model) -> Exhibit:
    """Cosines of linked nodes beside those of nodes that are not linked.

    Args:
        graph: With labels, linked pairs are parted by class.
        model: Trained.
    """
    vectors = model.embed(Nodes(graph))
    rng = np.random.default_rng(0)
    links = graph.edges.numpy().T
    linked = rng.permutation(links)[:_PAIRS]
    groups = {"any two nodes": rng.integers(0, len(graph), (_PAIRS, 2))}
    if graph.labels is None:
        groups["linked"] = linked
    else:
        labels = np.asarray(graph.labels)
        same = labels[linked[:, 0]] == labels[linked[:, 1]]
        groups |= {"linked, one class": linked[same], "linked, two classes": linked[~same]}
    return Exhibit(
        title="Linked nodes",
        text="How similar linked nodes have become, beside any two nodes. Where the curve of links "
        "between two classes lies far to the right, training has drawn classes together.",
        curves={
            f"{name} (mean {cosine.mean():.2f})": _density(cosine)
            for name, pairs in groups.items()
            if len(pairs)
            for cosine in [(vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1)]
        },
        x="cosine",
        y="density",
    )


def _density(values: NDArray[np.float32]) -> tuple[Sequence[float], Sequence[float]]:
    share, edges = np.histogram(values, bins=50, range=(-1, 1), density=True)
    return ((edges[:-1] + edges[1:]) / 2).tolist(), share.tolist()
