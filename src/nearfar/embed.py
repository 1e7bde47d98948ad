"""Vectors on disk, and the nearest ones."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.files import replace_bytes

FORMATS = (".parquet", ".npz", ".safetensors")


def write_vectors(path: str | Path, names: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Write vectors with their names.

    Args:
        path: ``.parquet`` (columns name, vector), ``.npz`` (arrays names, vectors) or
            ``.safetensors`` (tensor vectors; names as a JSON list in the metadata).
        names: (N,) names.
        vectors: (N, D) float32.

    Raises:
        NearfarError: Another ending.
    """
    path = Path(path)
    check_format(path)
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, names=np.asarray(names, dtype=str), vectors=vectors)
    elif path.suffix == ".safetensors":
        import json

        from safetensors.numpy import save

        buffer.write(save({"vectors": vectors}, metadata={"names": json.dumps(list(names))}))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        flat = pa.array(vectors.reshape(-1), pa.float32())
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        pq.write_table(pa.table({"name": list(names), "vector": column}), buffer)
    replace_bytes(path, buffer.getvalue())


def check_format(path: Path) -> None:
    """Refuse an ending that cannot be written, before the work and not after it."""
    if path.suffix not in FORMATS:
        raise NearfarError(f"out={str(path)!r}: wanted a file that ends in {', '.join(FORMATS)}.")


def nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Exact nearest neighbours by cosine, with faiss.

    Args:
        vectors: (N, D) unit vectors to search.
        queries: (Q, D) unit vectors.
        k: Neighbours for each, at most N are returned.

    Returns:
        (Q, k) similarities, highest first, and (Q, k) rows of ``vectors``.

    Example:
        >>> similarity, row = nearest(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), 1)
        >>> row.ravel().tolist()
        [0, 1, 2]
    """
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    similarity, rows = index.search(np.ascontiguousarray(queries), min(k, len(vectors)))
    return similarity, rows
