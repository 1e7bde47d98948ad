"""From a run folder to report.html."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from nearfar.files import reading, replace_text
from nearfar.pairs import printable
from nearfar.report import _anatomy, _figures, _harmony, _words
from nearfar.report._exhibits import exhibits, png
from nearfar.report._game import look, neighbours
from nearfar.report._snapshot import WRITE_AGAIN, Snapshot
from nearfar.train import Run


def write_report(run: Run) -> None:
    """Write ``report.html`` from the run folder; no data, no model and no network are needed.

    Raises:
        NearfarError: The folder holds no run, or one that has nothing to show yet.
    """
    settings = run.settings()
    snapshot, lines = Snapshot.load(run), run.lines()
    with reading(run.scores, WRITE_AGAIN):
        scores = json.loads(run.scores.read_text()) if run.scores.is_file() else None
    seen = look(snapshot, lines)
    labels = [str(label) for label in snapshot.labels]
    figures = {
        "fig-loss": _figures.loss(lines),
        "fig-similarity": _figures.similarity(seen),
        "fig-crowd": _anatomy.crowd(seen),
        "fig-weighing": _anatomy.weighing(seen),
        "fig-sharpness": _anatomy.sharpness(lines),
        "fig-geometry": _figures.geometry(lines),
        "fig-information": _figures.information(lines),
        "fig-temperature": _figures.temperature(lines),
        "fig-forces": _figures.forces(lines),
        "fig-lengths": _anatomy.lengths(lines),
        "fig-map": _figures.space_map(snapshot.vectors, labels),
    }
    accords = run.accords()
    if accords:
        figures["fig-harmony"] = _harmony.cosines(accords)
        figures["fig-layers"] = _harmony.layers(accords)
        figures["fig-lengths-of-layers"] = _harmony.layer_lengths(accords)
    extra = exhibits(run)
    own = {
        f"fig-own-{number}": section["figure"]
        for number, section in enumerate(extra["sections"])
        if section["figure"]
    }
    judgement, good = _words.judgement(scores)
    pages = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    page = pages.get_template("page.html.jinja").render(
        title=f"{settings['recipe']}: {run.folder}",
        verdict=_words.verdict(lines),
        judgement=judgement,
        good=good,
        scores=scores,
        game=seen,
        margin=seen.margin,
        saturation=_words.saturation(lines),
        figures={
            **{name: _script(json.loads(figure.to_json())) for name, figure in figures.items()},
            **{name: _script(figure) for name, figure in own.items()},
        },
        exhibits=extra,
        harmony=_harmony.words(accords) if accords else None,
        neighbours=neighbours(snapshot),
        names=[str(name) for name in snapshot.names],
        labels=labels,
        sprite=_sprite(snapshot.pictures),
        columns=_COLUMNS,
        items=_script(
            [f"{name}  {label}" for name, label in zip(snapshot.names, labels, strict=True)]
        ),
        settings=settings,
        commands=[str(command) for command in snapshot.commands],
        # The script is plotly's own; "</script" cannot stand in it by construction.
        plotly=Markup(get_plotlyjs()),
    )
    # A path among the settings may hold any bytes.
    replace_text(run.report, printable(page))


_COLUMNS = 40


def _sprite(pictures: NDArray[np.uint8]) -> str | None:
    """All thumbnails side by side in one PNG, as a data address."""
    if pictures.ndim != 4:
        return None
    side = pictures.shape[1]
    grid = np.zeros((-(-len(pictures) // _COLUMNS) * side, _COLUMNS * side, 3), np.uint8)
    for row, picture in enumerate(pictures):
        top, left = divmod(row, _COLUMNS)
        grid[top * side : (top + 1) * side, left * side : (left + 1) * side] = picture
    return png(grid)


def _script(value: Any) -> Markup:
    """JSON that may stand inside a script element, whatever names it holds."""
    text = json.dumps(value)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
