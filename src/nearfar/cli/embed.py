"""Write the vectors of a folder: nearfar embed RUN PATH --out vectors.parquet"""

from __future__ import annotations

from collections.abc import Sequence


def embed(run: str, path: str, out: str = "vectors.parquet", json: bool = False) -> int:
    """Embed every picture below a folder.

    Args:
        run: A run folder, or a model folder.
        path: Folder of pictures, or one picture.
        out: File to write: .parquet, .npz or .safetensors.
        json: Print the figures as JSON.
    """
    from pathlib import Path

    from nearfar.cli import _show as show
    from nearfar.cli._gather import readable
    from nearfar.embed import check_format, write_vectors
    from nearfar.model import load

    check_format(Path(out))
    model = load(run)
    found = readable(model, path)
    vectors = model.embed(found.pixels, progress=True)
    write_vectors(out, found.names, vectors)
    console = show.out(json)
    show.show_skipped(console, found.skipped)
    console.print(f"{len(vectors):,} vectors of {vectors.shape[1]} numbers in {out}")
    if json:
        show.print_json(
            {"out": out, "vectors": len(vectors), "dim": model.dim, "skipped": list(found.skipped)}
        )
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar embed``."""
    from nearfar.cli._parse import call

    return call(embed, "nearfar embed", words)
