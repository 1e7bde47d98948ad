"""Find what lies nearest: nearfar search RUN QUERY"""

from __future__ import annotations

from collections.abc import Sequence


def search(
    run: str, query: str, gallery: str | None = None, k: int = 10, json: bool = False
) -> int:
    """Print the items that lie nearest to a query.

    Args:
        run: A run folder.
        query: An input, as the model reads it: a picture, a read, the name of a node, ...
        gallery: Where to search; by default what the run learned from.
        k: How many to print.
        json: Print them as JSON.
    """
    from contextlib import nullcontext

    from nearfar.cli import _show as show
    from nearfar.cli._rebuild import from_here
    from nearfar.embed import nearest
    from nearfar.errors import NearfarError, check_range
    from nearfar.model import load
    from nearfar.train import Run

    check_range(1, k=k)
    model = load(run)
    where = gallery or Run(run).settings().get("path")
    if where is None:
        raise NearfarError("This run learned from no path; name one with --gallery PATH.")
    with nullcontext() if gallery else from_here(Run(run), ", or name what to search: --gallery"):
        found = model.reader.find(where)
    vector = model.embed([model.reader.one(query, found)])
    similarity, rows = nearest(model.embed(found.items, progress=True), vector, k)
    hits = [
        {"name": found.names[row], "similarity": round(float(value), 4)}
        for value, row in zip(similarity[0], rows[0], strict=True)
    ]
    console = show.out(json)
    show.show_skipped(console, found.skipped)
    if json:
        show.print_json(
            {"query": query, "gallery": where, "nearest": hits, "skipped": found.skipped}
        )
    else:
        for hit in hits:
            console.print(f"{hit['similarity']:.3f}  {hit['name']}")
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar search``."""
    from nearfar.cli._parse import call

    return call(search, "nearfar search", words)
