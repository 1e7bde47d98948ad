"""Judge an encoder on labelled pictures: nearfar evaluate RUN PATH"""

from __future__ import annotations

from collections.abc import Sequence


def evaluate(run: str, path: str, test: str | None = None, json: bool = False) -> int:
    """Print kNN and linear-probe accuracy with the untrained encoder and raw pixels beside.

    Args:
        run: A run folder.
        path: Folder whose sub-folders are the labels.
        test: Another such folder to test on; by default a fifth of the first is held out.
        json: Print the figures as JSON.
    """
    from nearfar.cli import _show as show
    from nearfar.cli._gather import readable
    from nearfar.errors import NearfarError
    from nearfar.evaluate import evaluate as judge
    from nearfar.experiment import Probe, held_out
    from nearfar.model import load
    from nearfar.train import Run

    model, untrained_weights = load(run), Run(run).untrained
    untrained = load(run, weights=untrained_weights) if untrained_weights.is_file() else None
    console = show.out(json)
    gallery = readable(model, path)
    show.show_skipped(console, gallery.skipped)
    if test is None:
        probe = held_out(gallery.pixels, gallery.labels)
        if probe is None:
            raise NearfarError(
                f"path={path!r} has no labels to test with; wanted two or more sub-folders of "
                "five pictures or more, or a second labelled folder: --test FOLDER."
            )
    else:
        queries = readable(model, test)
        show.show_skipped(console, queries.skipped)
        if gallery.labels is None or queries.labels is None:
            bad = path if gallery.labels is None else test
            raise NearfarError(
                f"{bad!r} has no labels; wanted two or more sub-folders of pictures."
            )
        probe = Probe(
            gallery=gallery.pixels,
            gallery_labels=gallery.labels,
            queries=queries.pixels,
            query_labels=queries.labels,
        )
    scores = judge(model, untrained, probe, progress=True)
    if json:
        show.print_json(scores.as_json())
    else:
        show.show_scores(console, scores)
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar evaluate``."""
    from nearfar.cli._parse import call

    return call(evaluate, "nearfar evaluate", words)
