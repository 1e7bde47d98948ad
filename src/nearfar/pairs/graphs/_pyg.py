"""A PyTorch Geometric ``Data`` that was saved with torch.save, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._arrays import class_names
from nearfar.pairs.graphs._build import build
from nearfar.pairs.graphs._geometric import geometric
from nearfar.pairs.graphs._graph import Graph


def pyg(path: Path) -> Graph:
    """Read ``torch.save(data, path)`` or ``torch.save(data.to_dict(), path)``.

    ``torch.load(weights_only=True)`` reads it, with the four classes that a plain ``Data`` is made
    of let in; whatever else a file asks for is refused.

    Args:
        path: The file; x and edge_index are needed; y, node_names and the three masks are read.

    Raises:
        NearfarError: No graph, or a file with other objects in it.
    """
    with geometric():
        from torch_geometric.data import Data
        from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
        from torch_geometric.data.storage import GlobalStorage

    try:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise NearfarError(
            f"path={str(path)!r} cannot be read safely: {str(error).splitlines()[0]} Wanted a "
            "plain Data; save it with torch.save(data.to_dict(), path)."
        ) from error
    if isinstance(held, tuple) and held:
        held = held[0]
    parts: dict[str, Any] = held if isinstance(held, dict) else held.to_dict()
    if not {"x", "edge_index"} <= parts.keys():
        raise NearfarError(
            f"path={str(path)!r} holds {', '.join(map(str, parts)) or 'nothing'}; wanted at least "
            "x (N, F) and edge_index (2, L)."
        )
    label = parts.get("y")
    masks = {name: parts.get(f"{name}_mask") for name in ("train", "val", "test")}
    split = {
        name: mask.nonzero().flatten()
        for name, mask in masks.items()
        if isinstance(mask, Tensor) and mask.ndim == 1
    }
    names = parts.get("node_names")
    return build(
        parts["x"],
        *parts["edge_index"].long(),
        names=None if names is None else [str(name) for name in names],
        labels=class_names(label) if isinstance(label, Tensor) else None,
        split=split if len(split) == 3 else None,
    )
