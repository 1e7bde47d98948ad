"""Vectors on disk, and the nearest ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.files import replacing

FORMATS = (".parquet", ".npz", ".safetensors")
# Names and vectors of some items.
Part = tuple[Sequence[str], NDArray[np.float32]]
_ROW_GROUP = 2**16


def write_vectors(path: str | Path, parts: Iterable[Part]) -> tuple[int, int]:
    """Write vectors with their names as they come.

    Args:
        path: ``.parquet`` (columns name, vector; written part by part, so that the whole need not
            fit the memory), ``.npz`` (arrays names, vectors) or ``.safetensors`` (tensor vectors;
            names as a JSON list in the metadata).
        parts: Names (N,) and float32 vectors (N, D) at a time; at least one part.

    Returns:
        How many, and D.

    Raises:
        NearfarError: Another ending, or a place that cannot be written to.
    """
    path = Path(path)
    check_format(path)
    with replacing(path) as file:
        if path.suffix == ".parquet":
            return _write_parquet(file, parts)
        every = list(parts)
        names = [name for part, _ in every for name in part]
        vectors = np.concatenate([part for _, part in every])
        if path.suffix == ".npz":
            np.savez(file, names=np.asarray(names, dtype=str), vectors=vectors)
        else:
            from safetensors.numpy import save

            file.write(save({"vectors": vectors}, metadata={"names": json.dumps(names)}))
        return vectors.shape[0], vectors.shape[1]


def _write_parquet(file: BinaryIO, parts: Iterable[Part]) -> tuple[int, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def tables() -> Iterator[Any]:
        for names, vectors in parts:
            flat = pa.array(vectors.reshape(-1), pa.float32())
            column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            yield pa.table({"name": pa.array(names, pa.string()), "vector": column})

    every = tables()
    waiting = [next(every)]
    schema, count = waiting[0].schema, 0
    with pq.ParquetWriter(file, schema) as writer:
        for table in every:
            if sum(map(len, waiting)) >= _ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting))
                count += sum(map(len, waiting))
                waiting = []
            waiting.append(table)
        writer.write_table(pa.concat_tables(waiting))
        count += sum(map(len, waiting))
    return count, schema.field("vector").type.list_size


def check_format(path: Path) -> None:
    """Refuse a name that cannot be written, before the work and not after it."""
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
