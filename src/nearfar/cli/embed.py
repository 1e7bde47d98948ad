"""Write the vectors of your data: nearfar embed RUN PATH --out vectors.parquet"""

from __future__ import annotations

from collections.abc import Sequence


def embed(run: str, path: str, out: str = "vectors.parquet", json: bool = False) -> int:
    """Embed everything that lies at a path.

    Args:
        run: A run folder, or a model folder.
        path: What the model reads: a folder of pictures, a file of reads, a graph, ...
        out: File to write: .parquet (whatever the size), .npz or .safetensors.
        json: Print the figures as JSON.
    """
    import time
    from collections.abc import Iterator
    from pathlib import Path

    from rich.progress import Progress, SpinnerColumn, TextColumn

    from nearfar.cli import _show as show
    from nearfar.embed import Part, check_format, write_vectors
    from nearfar.model import load

    check_format(Path(out))
    model = load(run)
    skipped: dict[str, str] = {}
    console = show.out(json)
    began = time.perf_counter()
    words = "{task.completed:,.0f} embedded, {task.fields[rate]:,.0f} a second"
    with Progress(SpinnerColumn(), TextColumn(words), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, rate=0.0)

        def parts() -> Iterator[Part]:
            done = 0
            for found in model.reader.stream(path):
                skipped.update(found.skipped)
                yield found.names, model.embed(found.items)
                done += len(found.names)
                bar.update(task, completed=done, rate=done / (time.perf_counter() - began))

        count, dim = write_vectors(out, parts())
    seconds = time.perf_counter() - began
    show.show_skipped(console, skipped)
    console.print(f"{count:,} vectors of {dim} numbers in {out}, {count / seconds:,.0f} a second")
    if json:
        show.print_json(
            {
                "out": out,
                "vectors": count,
                "dim": dim,
                "seconds": round(seconds, 3),
                "skipped": skipped,
            }
        )
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar embed``."""
    from nearfar.cli._parse import call

    return call(embed, "nearfar embed", words)
