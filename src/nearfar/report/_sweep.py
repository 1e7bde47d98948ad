"""Several trainings that differ in their temperature, on one page."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import torch
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from nearfar.anatomy import label_numbers, tolerance
from nearfar.files import replace_text
from nearfar.report._figures import INK
from nearfar.report._snapshot import Snapshot
from nearfar.train import Run


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One of the trainings.

    Attributes:
        name: ``tau-0.1``, ``cosine``, ``learned``.
        temperature: At the start.
        ended: At the end.
        scores: Heading to value of the learned embedding; empty without a probe.
        alignment: Of the last look.
        uniformity: Of the last look.
        tolerance: Mean cosine of different items of one label; None where no label has two.
        hardest_1: Share of the push that the hardest 1 % took then.
    """

    name: str
    temperature: float
    ended: float
    scores: dict[str, float]
    alignment: float
    uniformity: float
    tolerance: float | None
    hardest_1: float

    @staticmethod
    def of(name: str, temperature: float, run: Run) -> Trial:
        """Read it from a finished run."""
        last = run.lines()[-1]
        scores: dict[str, float] = {}
        if run.scores.is_file():
            table = json.loads(run.scores.read_text())
            learned = table["rows"]["learned"]
            scores = {
                text: learned[key] for key, text in table["measures"].items() if key in learned
            }
        return Trial(
            name=name,
            temperature=temperature,
            ended=last["temperature"],
            scores=scores,
            alignment=last["alignment"],
            uniformity=last["uniformity"],
            tolerance=_tolerance(run),
            hardest_1=last["hardest_1"],
        )


def _tolerance(run: Run) -> float | None:
    snapshot = Snapshot.load(run)
    labels = label_numbers([str(label) for label in snapshot.labels])
    if labels is None or int(labels.bincount().max()) < 2:
        return None
    return tolerance(torch.from_numpy(snapshot.vectors), labels)


def write_sweep(folder: str, recipe: str, trials: list[Trial]) -> Path:
    """Write ``sweep.json`` and ``sweep.html``; the page's path.

    Args:
        folder: Where the trainings lie.
        recipe: Its name.
        trials: In the order of the table.
    """
    home = Path(folder)
    replace_text(home / "sweep.json", json.dumps([asdict(one) for one in trials], indent=1) + "\n")
    said = html.escape(verdict(trials))
    figure = sweep_figure(trials).to_json().replace("<", "\\u003c")
    page = home / "sweep.html"
    replace_text(
        page,
        "<!doctype html><meta charset=utf-8><title>temperatures</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto}</style>"
        f"<script>{get_plotlyjs()}</script><h1>{html.escape(recipe)}: temperatures</h1>"
        f"<p>{said} Alignment is the mean squared distance of partners, uniformity how evenly "
        "vectors fill the sphere, tolerance the mean cosine of different items of one label: a low "
        "temperature spreads strangers, a high one lets the alike stay alike, and a task wants "
        "something between.</p><div id=sweep></div><script>"
        f"const figure = {figure}; Plotly.newPlot('sweep', figure.data, figure.layout)</script>",
    )
    return page


def verdict(trials: list[Trial]) -> str:
    """Where the best temperature lies."""
    fixed = [one for one in trials if one.name.startswith("tau-") and one.scores]
    if len(fixed) < 2:
        return "Nothing was labelled, so no temperature is best: compare alignment and uniformity."
    measure = next(iter(fixed[0].scores))
    best = max(fixed, key=lambda one: one.scores[measure])
    value = best.scores[measure]
    line = f"By {measure}, temperature {best.temperature:g} is best ({value:.3f})"
    if best in (fixed[0], fixed[-1]):
        beyond = "lower" if best is fixed[0] else "higher"
        return f"{line}, the edge of the sweep: try {beyond} ones, too."
    return f"{line}, inside the sweep: both lower and higher ones were worse."


def sweep_figure(trials: list[Trial]) -> go.Figure:
    """Accuracy above, alignment and uniformity below, against the temperature."""
    figure = make_subplots(
        rows=2, shared_xaxes=True, vertical_spacing=0.08, specs=[[{}], [{"secondary_y": True}]]
    )
    fixed = [one for one in trials if one.name.startswith("tau-")]
    inks = cycle(INK[ink] for ink in ("blue", "green", "orange", "grey"))
    measures = list(fixed[0].scores)[:4] if fixed else []
    lines: list[tuple[int, str, list[Any], str, bool]] = [
        (1, text, [one.scores[text] for one in fixed], next(inks), False) for text in measures
    ]
    lines += [
        (2, "alignment", [one.alignment for one in fixed], INK["blue"], False),
        (2, "tolerance", [one.tolerance for one in fixed], INK["green"], False),
        (2, "uniformity (right axis)", [one.uniformity for one in fixed], INK["orange"], True),
    ]
    for row, text, values, ink, right in lines:
        figure.add_scatter(
            x=[one.temperature for one in fixed],
            y=values,
            name=text,
            mode="lines+markers",
            line={"color": ink},
            row=row,
            col=1,
            **({"secondary_y": right} if row == 2 else {}),
        )
    for one in trials:
        if one not in fixed and one.scores:
            figure.add_scatter(
                x=[one.ended],
                y=[one.scores[measures[0]]],
                name=f"{one.name}, {one.temperature:g} to {one.ended:.2g}: {measures[0]}",
                mode="markers",
                marker={"size": 11, "symbol": "diamond", "color": INK["orange"]},
                row=1,
                col=1,
            )
    figure.update_xaxes(type="log")
    figure.update_xaxes(title="temperature", row=2, col=1)
    figure.update_yaxes(title="accuracy", row=1, col=1)
    figure.update_yaxes(tickmode="auto", showgrid=False, row=2, col=1, secondary_y=True)
    figure.update_layout(height=640, legend={"orientation": "h", "y": 1.08})
    return figure
