"""Judge an encoder on labelled data: nearfar evaluate RUN PATH"""

from __future__ import annotations

from collections.abc import Sequence


def evaluate(run: str, path: str | None = None, test: str | None = None, json: bool = False) -> int:
    """Print how well the embedding does beside the untrained encoder and features without training.

    Args:
        run: A run folder.
        path: Labelled data, such as a folder whose sub-folders are the labels; by default what the
            recipe judges by.
        test: More of it to test on; by default a part of the first is held out.
        json: Print the figures as JSON.
    """
    from nearfar.cli import _show as show
    from nearfar.cli._judge import judge
    from nearfar.cli._rebuild import experiment_of
    from nearfar.errors import NearfarError
    from nearfar.model import load
    from nearfar.train import Run

    model, untrained_weights = load(run), Run(run).untrained
    untrained = load(run, weights=untrained_weights) if untrained_weights.is_file() else None
    console = show.out(json)
    if path is None:
        if test is not None:
            raise NearfarError(f"test={test!r} without a path to learn from: name both.")
        experiment = experiment_of(Run(run), ", or name labelled data: PATH")
        if experiment.rival is not None:
            experiment.rival.load(Run(run).model)
        probe, remarks = experiment.probe, list(experiment.remarks)
    else:
        found = model.reader.find(path)
        more = None if test is None else model.reader.find(test)
        both = [inputs for inputs in (found, more) if inputs is not None]
        for inputs in both:
            show.show_skipped(console, inputs.skipped)
        remarks = [line for inputs in both for line in inputs.remarks]
        probe = model.reader.probe(found, more)
    if probe is None:
        wanted = (
            f"{path or run!r} has no labels to test with; wanted labelled data, such as two or "
            "more sub-folders of five items or more, or two labelled paths: PATH --test PATH."
        )
        raise NearfarError(" ".join([wanted, *remarks]))
    for line in remarks:
        show.say(console, "note", line)
    scores = judge(model, untrained, probe)
    if json:
        show.print_json(scores.as_json())
    else:
        show.show_scores(console, scores)
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar evaluate``."""
    from nearfar.cli._parse import parser

    parse = parser("nearfar evaluate", evaluate)
    parse.by_place("path")
    return evaluate(**parse.read(words))
