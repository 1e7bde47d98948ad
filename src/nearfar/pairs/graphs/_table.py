"""A folder with a list of edges and a table of nodes, CSV or Parquet; node ids are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._build import build
from nearfar.pairs.graphs._graph import Graph

ENDINGS = (".csv", ".tsv", ".parquet")
_SHAPE = (
    "Wanted edges.csv (two columns: the ids of a link's ends) and nodes.csv (first column the id; "
    "then, if there are any, label and split with train, val, test; all other columns are numbers)"
)


def tables(edges: Path, nodes: Path) -> Graph:
    """Read an edge list and the nodes' features.

    Args:
        edges: Its first two columns are the ids of a link's ends; direction does not count.
        nodes: First column the id, ``label`` and ``split`` where they are there, and numbers.

    Raises:
        NearfarError: No numbers, a column with words, or a file that is no table.
    """
    skipped: dict[str, str] = {}
    table = _read(nodes)
    every = [str(name) for name in table.column(0).to_pylist()]
    place: dict[str, int] = {}
    for row, name in enumerate(every):
        if name in place:
            skipped[f"{name} (row {row})"] = f"{name}: row {row} of {nodes.name} names it again."
        place.setdefault(name, row)
    rows = list(place.values())
    words = [name for name in ("label", "split") if name in table.column_names[1:]]
    numbers = [name for name in table.column_names[1:] if name not in words]
    if not numbers:
        raise NearfarError(f"path={str(nodes)!r} has no features. {_SHAPE}.")
    x = np.stack([_numbers(table, name, nodes) for name in numbers], 1)[rows]
    number = {name: row for row, name in enumerate(place)}
    ends = []
    listed = _read(edges)
    if listed.num_columns < 2:
        raise NearfarError(f"path={str(edges)!r} has {listed.num_columns} column(s). {_SHAPE}.")
    both = zip(listed.column(0).to_pylist(), listed.column(1).to_pylist(), strict=True)
    for a, b in both:
        a, b = str(a), str(b)
        if a in number and b in number:
            ends.append((number[a], number[b]))
        else:
            missing = a if a not in number else b
            skipped[f"link {a} - {b}"] = f"link {a} - {b}: {nodes.name} has no node {missing!r}."
    source, target = torch.tensor(ends, dtype=torch.int64).reshape(-1, 2).T
    word = {
        name: ["" if value is None else str(value) for value in table[name].to_pylist()]
        for name in words
    }
    return build(
        x,
        source,
        target,
        names=list(place),
        labels=[word["label"][row] for row in rows] if "label" in word else None,
        split=_split([word["split"][row] for row in rows]) if "split" in word else None,
        skipped=skipped,
    )


def _read(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowException, OSError) as error:
        raise NearfarError(f"path={str(path)!r} cannot be read: {error}. {_SHAPE}.") from error


def _numbers(table: Any, name: str, path: Path) -> NDArray[np.float32]:
    try:
        column: NDArray[np.float32] = table[name].cast("float64").to_numpy().astype(np.float32)
    except (ValueError, NotImplementedError) as error:
        raise NearfarError(
            f"path={str(path)!r}: column {name!r} holds words, not numbers. {_SHAPE}."
        ) from error
    return column


def _split(words: list[str]) -> dict[str, torch.Tensor] | None:
    every = np.array(words)
    split = {
        name: torch.from_numpy(np.flatnonzero(every == name)) for name in ("train", "val", "test")
    }
    return split if all(len(rows) for rows in split.values()) else None
