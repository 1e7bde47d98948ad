"""Graphs as NumPy arrays (.npz); nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._build import build
from nearfar.pairs.graphs._graph import Graph

_WANTED = (
    "edge_index (2, L) or adj_indptr, adj_indices, adj_shape; features as x (N, F), or CSR parts "
    "x_indptr, x_indices, x_data, x_shape (or attr_...); and, if there are any, y or labels, "
    "names, train_mask, val_mask, test_mask"
)
Arrays = Mapping[str, NDArray[Any]]


def arrays(path: Path) -> Graph:
    """Read a graph from plain arrays.

    Args:
        path: Features as ``x``, or as the parts of a CSR matrix (``x_`` or ``attr_`` before
            ``data``, ``indices``, ``indptr``, ``shape``; without data all are ones). Links as
            ``edge_index``, or as the parts of an adjacency matrix (``adj_``; Shchur et al. 2018).

    Raises:
        NearfarError: Arrays are missing, or are pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return _graph(path, file)
    except (OSError, ValueError, zipfile.BadZipFile, IndexError) as error:
        if isinstance(error, NearfarError):
            raise
        raise NearfarError(
            f"path={str(path)!r} cannot be read as a graph: {error}. Wanted {_WANTED}."
        ) from error


def _graph(path: Path, file: Arrays) -> Graph:
    if "edge_index" in file:
        source, target = (torch.from_numpy(part.astype(np.int64)) for part in file["edge_index"])
    elif "adj_indptr" in file:
        count = np.diff(file["adj_indptr"])
        source = torch.from_numpy(np.repeat(np.arange(len(count)), count))
        target = torch.from_numpy(file["adj_indices"].astype(np.int64))
    else:
        raise NearfarError(f"path={str(path)!r} holds no links. Wanted {_WANTED}.")
    label = next((file[name] for name in ("y", "labels") if name in file), None)
    split = {
        name: torch.from_numpy(np.flatnonzero(file[f"{name}_mask"]))
        for name in ("train", "val", "test")
        if f"{name}_mask" in file
    }
    return build(
        _features(path, file),
        source,
        target,
        names=[str(name) for name in file["names"]] if "names" in file else None,
        labels=None if label is None else class_names(torch.from_numpy(label)),
        split=split if len(split) == 3 else None,
    )


def _features(path: Path, file: Arrays) -> Any:
    if "x" in file:
        return file["x"]
    from scipy.sparse import csr_matrix

    for part in ("x", "attr"):
        if f"{part}_indptr" in file:
            indices = file[f"{part}_indices"].astype(np.int64)
            data = file[f"{part}_data"] if f"{part}_data" in file else np.ones(len(indices))
            shape = tuple(int(side) for side in file[f"{part}_shape"])
            matrix = csr_matrix((data, indices, file[f"{part}_indptr"].astype(np.int64)), shape)
            matrix.check_format()
            return matrix
    raise NearfarError(f"path={str(path)!r} holds no features. Wanted {_WANTED}.")


def class_names(y: Tensor) -> list[str] | None:
    """Classes as words; -1 and NaN are no class, several targets a node are no classes."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        return None
    whole = y.nan_to_num(-1).long()
    return ["" if value < 0 else str(value) for value in whole.tolist()]
