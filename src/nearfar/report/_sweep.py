"""Several trainings that differ in their temperature, on one page."""

from __future__ import annotations

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from nearfar.files import replace_text
from nearfar.report._figures import INK
from nearfar.train import Run


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One of the trainings.

    Attributes:
        name: ``tau-0.1``, ``cosine``, ``learned``.
        temperature: At the start.
        ended: At the end.
        knn: Accuracy of the learned embedding; None without a probe.
        linear: The same of a linear probe.
        alignment: Of the last look.
        uniformity: Of the last look.
        hardest_1: Share of the push that the hardest 1 % took then.
    """

    name: str
    temperature: float
    ended: float
    knn: float | None
    linear: float | None
    alignment: float
    uniformity: float
    hardest_1: float

    @staticmethod
    def of(name: str, temperature: float, run: Run) -> Trial:
        """Read it from a finished run."""
        last = run.lines()[-1]
        learned: dict[str, float] = {}
        if run.scores.is_file():
            learned = json.loads(run.scores.read_text())["rows"]["learned"]
        return Trial(
            name=name,
            temperature=temperature,
            ended=last["temperature"],
            knn=learned.get("knn"),
            linear=learned.get("linear"),
            alignment=last["alignment"],
            uniformity=last["uniformity"],
            hardest_1=last["hardest_1"],
        )


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
        "vectors fill the sphere: a low temperature spreads strangers, a high one lets the alike "
        "stay alike, and a task wants something between.</p><div id=sweep></div><script>"
        f"const figure = {figure}; Plotly.newPlot('sweep', figure.data, figure.layout)</script>",
    )
    return page


def verdict(trials: list[Trial]) -> str:
    """Where the best temperature lies."""
    fixed = [one for one in trials if one.name.startswith("tau-") and one.knn is not None]
    if len(fixed) < 2:
        return "Nothing was labelled, so no temperature is best: compare alignment and uniformity."
    best = max(fixed, key=lambda one: one.knn or 0)
    line = f"Nearest neighbours are best at temperature {best.temperature:g} ({best.knn:.3f})"
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
    taus = [one.temperature for one in fixed]
    for row, name, text, ink, right in (
        (1, "knn", "kNN", "blue", False),
        (1, "linear", "linear probe", "green", False),
        (2, "alignment", "alignment", "blue", False),
        (2, "uniformity", "uniformity (right axis)", "orange", True),
    ):
        figure.add_scatter(
            x=taus,
            y=[getattr(one, name) for one in fixed],
            name=text,
            mode="lines+markers",
            line={"color": INK[ink]},
            row=row,
            col=1,
            **({"secondary_y": right} if row == 2 else {}),
        )
    for one in trials:
        if one not in fixed and one.knn is not None:
            figure.add_scatter(
                x=[one.ended],
                y=[one.knn],
                name=f"{one.name}, {one.temperature:g} to {one.ended:.2g}: kNN",
                mode="markers",
                marker={"size": 11, "symbol": "diamond", "color": INK["orange"]},
                row=1,
                col=1,
            )
    figure.update_xaxes(type="log")
    figure.update_xaxes(title="temperature", row=2, col=1)
    figure.update_yaxes(title="accuracy", row=1, col=1)
    figure.update_layout(height=640, legend={"orientation": "h", "y": 1.08})
    return figure
