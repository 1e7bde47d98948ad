"""The raw Planetoid files (Yang et al. 2016): ind.NAME.x, .tx, .allx, .graph and the others."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._build import build
from nearfar.pairs.graphs._graph import Graph

# All that the published files hold. A pickle that asks for anything else is refused, so opening
# one runs no code of its author's.
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "defaultdict"),
    ("builtins", "list"),
    ("__builtin__", "list"),
}


def planetoid(path: Path) -> Graph:
    """Read one set with its public split: 20 labels a class, 500 to validate, 1,000 to test.

    Test nodes that the index leaves out (15 in CiteSeer) get no features, as everywhere.

    Args:
        path: ``ind.cora`` or any file of the set.

    Raises:
        NearfarError: A file is missing, or is no Planetoid file.
    """
    stem = path.parent / ".".join(path.name.split(".")[:2])
    parts = {name: _read(stem, name) for name in ("x", "tx", "allx", "ty", "ally", "graph")}
    listed = _file(stem, "test.index").read_text().split()
    test = np.array([int(line) for line in listed])
    import scipy.sparse as sp

    known = parts["allx"].shape[0]
    nodes = max(len(parts["graph"]), int(test.max()) + 1)
    x = sp.lil_matrix((nodes, parts["allx"].shape[1]), dtype=np.float32)
    x[:known], x[test] = parts["allx"], parts["tx"]
    y = np.zeros((nodes, parts["ally"].shape[1]))
    y[:known], y[test] = parts["ally"], parts["ty"]
    pairs = [(a, b) for a, ends in parts["graph"].items() for b in ends]
    source, target = torch.tensor(pairs, dtype=torch.int64).T
    train = parts["x"].shape[0]
    return build(
        x.tocsr(),
        source,
        target,
        labels=[str(row.argmax()) if row.any() else "" for row in y],
        split={
            "train": torch.arange(train),
            "val": torch.arange(train, min(train + 500, known)),
            "test": torch.from_numpy(np.sort(test)),
        },
    )


def planetoid_sets(folder: Path) -> list[Path]:
    """One path for every set in a folder."""
    return sorted({file.with_suffix("") for file in folder.glob("ind.*.graph")})


def _file(stem: Path, name: str) -> Path:
    file = stem.parent / f"{stem.name}.{name}"
    if not file.is_file():
        raise NearfarError(
            f"path={str(stem)!r}: {file.name} is missing. Wanted the eight files of a Planetoid "
            "set in one folder."
        )
    return file


def _read(stem: Path, name: str) -> Any:
    file = _file(stem, name)
    try:
        return _Careful(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
        raise NearfarError(f"{str(file)!r} cannot be read as a Planetoid file: {error}") from error


class _Careful(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Where these lay when the files were made, and where they lie now.
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            from numpy._core import multiarray

            return multiarray._reconstruct
        if name == "csr_matrix" and module in ("scipy.sparse.csr", "scipy.sparse._csr"):
            from scipy.sparse import csr_matrix

            return csr_matrix
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not loaded")
