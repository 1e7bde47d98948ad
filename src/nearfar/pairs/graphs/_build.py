"""From what a file holds to a graph: links once, features finite, everything odd named."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._features import features
from nearfar.pairs.graphs._graph import Graph, undirected
from nearfar.pairs.graphs._sparse import csr


def build(
    x: Any,
    source: Tensor,
    target: Tensor,
    *,
    names: list[str] | None = None,
    labels: list[str] | None = None,
    split: dict[str, Tensor] | None = None,
    skipped: dict[str, str] | None = None,
) -> Graph:
    """Make a graph and mend what can be mended.

    Args:
        x: (N, F) features: a SciPy CSR matrix, an array or a tensor.
        source: (L,) rows where links begin.
        target: (L,) rows where they end. Directions do not count.
        names: (N,) node ids; by default the rows' numbers.
        labels: (N,) classes; empty where there is none.
        split: Rows of the split that comes with the data.
        skipped: What was skipped so far.

    Raises:
        NearfarError: Features and names of different length.
    """
    x, skipped = features(x), dict(skipped or {})
    nodes = x.shape[0]
    names = [str(row) for row in range(nodes)] if names is None else names
    for what, given in (("names", names), ("labels", labels)):
        if given is not None and len(given) != nodes:
            raise NearfarError(
                f"The graph has {nodes} rows of features and {len(given)} {what}; wanted one each."
            )
    inside = (source >= 0) & (source < nodes) & (target >= 0) & (target < nodes)
    for a, b in zip(source[~inside].tolist(), target[~inside].tolist(), strict=True):
        skipped[f"link {a} - {b}"] = f"link {a} - {b}: there are only {nodes} nodes."
    x = _finite(x, names, skipped)
    usable = labels is not None and len({label for label in labels if label}) > 1
    return Graph(
        names=names,
        x=x,
        edges=undirected(source[inside], target[inside], nodes),
        labels=labels if usable else None,
        split=split,
        skipped=skipped,
    )


def _finite(x: Tensor, names: list[str], skipped: dict[str, str]) -> Tensor:
    """Nodes whose features are not finite keep their links and lose their features."""
    if x.layout == torch.strided:
        bad = ~x.isfinite().all(1)
    else:
        row = torch.repeat_interleave(x.crow_indices().diff())
        bad = torch.zeros(len(x), dtype=torch.bool).index_fill(0, row[~x.values().isfinite()], True)
    if not bool(bad.any()):
        return x
    for place in bad.nonzero().flatten().tolist():
        skipped[names[place]] = f"{names[place]}: its features are not finite; taken as zeros."
    if x.layout == torch.strided:
        return torch.where(bad[:, None], 0.0, x)
    value = torch.where(bad[row], 0.0, x.values())
    return csr(x.crow_indices(), x.col_indices(), value, (x.shape[0], x.shape[1]))
