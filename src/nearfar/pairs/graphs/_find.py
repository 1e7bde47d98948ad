"""From a path to a graph."""

from __future__ import annotations

from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.pairs.graphs._arrays import arrays
from nearfar.pairs.graphs._graph import Graph
from nearfar.pairs.graphs._planetoid import planetoid, planetoid_sets
from nearfar.pairs.graphs._pyg import pyg
from nearfar.pairs.graphs._table import ENDINGS, tables

_WANTED = (
    "a Planetoid set (ind.cora, or the folder with its files), an .npz, a .pt with a saved PyG "
    "Data, or a folder with edges and nodes (.csv, .tsv, .parquet)"
)


def read_graph(path: str | Path) -> Graph:
    """Read a graph in any of the formats.

    Args:
        path: See ``nearfar train graphs --help``.

    Raises:
        NearfarError: Nothing is there, or it is none of them.
    """
    path = Path(path)
    if path.name.startswith("ind.") and not path.is_dir():
        return planetoid(path)
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise NearfarError(f"path={str(path)!r}: there is nothing there. Wanted {_WANTED}.")
    if path.suffix == ".npz":
        return arrays(path)
    if path.suffix in (".pt", ".pth"):
        return pyg(path)
    raise NearfarError(f"path={str(path)!r}: {path.suffix or 'no ending'}. Wanted {_WANTED}.")


def _folder(path: Path) -> Graph:
    sets = planetoid_sets(path)
    found = {
        name: [path / f"{name}{end}" for end in ENDINGS if (path / f"{name}{end}").is_file()]
        for name in ("edges", "nodes")
    }
    if len(sets) == 1 and not found["edges"]:
        return planetoid(sets[0])
    if all(found.values()):
        return tables(found["edges"][0], found["nodes"][0])
    if sets:
        names = ", ".join(str(one) for one in sets)
        raise NearfarError(f"path={str(path)!r} holds several sets. Wanted one of {names}.")
    raise NearfarError(f"path={str(path)!r}: no graph in this folder. Wanted {_WANTED}.")
