"""Do several objectives pull the same way? Cosines over the training, against the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from nearfar.report._figures import INK, empty

Accords = list[dict[str, Any]]


def cosines(accords: Accords) -> go.Figure:
    """The cosine of the gradients of two objectives, and of each with itself on other items."""
    figure = empty("step", "cosine of gradients", 280)
    inks = iter(["blue", "orange", "green"] * len(accords))
    for objective in _objectives(accords):
        own = [line for line in accords if line["objective"] == objective]
        _dots(
            figure, own, [line["cosine"] for line in own], f"contrastive, {objective}", next(inks)
        )
    floors = [line for line in accords if line["floors"]]
    for name in dict.fromkeys(name for line in floors for name in line["floors"]):
        own = [line for line in floors if name in line["floors"]]
        values = [line["floors"][name] for line in own]
        _dots(figure, own, values, f"{name} with itself, other items", "grey", dash="dot")
    figure.add_hline(y=0, line={"color": INK["grey"], "width": 1})
    return figure


def layers(accords: Accords) -> go.Figure:
    """The cosine layer by layer: blue agrees, red conflicts."""
    objective = _objectives(accords)[0]
    own = [line for line in accords if line["objective"] == objective]
    names = list(dict.fromkeys(name for line in own for name in line["layers"]))
    grid = np.array([[line["layers"].get(name, np.nan) for line in own] for name in names])
    figure = empty("step", "", 120 + 16 * len(names))
    figure.add_heatmap(
        z=grid,
        x=[line["step"] for line in own],
        y=names,
        zmin=-1,
        zmax=1,
        colorscale="RdBu",
        colorbar={"title": "cosine"},
    )
    figure.update_yaxes(autorange="reversed", tickfont={"size": 10}, automargin=True)
    figure.update_layout(hovermode="closest")
    return figure


def words(accords: Accords) -> str:
    """How often they conflict, beside how often noise alone would, in one sentence each."""
    said = []
    for objective in _objectives(accords):
        own = [line for line in accords if line["objective"] == objective]
        conflicts = np.mean([line["cosine"] < 0 for line in own])
        ratio = np.median([line["ratio"] for line in own])
        said.append(
            f"The contrastive objective and {objective} conflict (cosine below zero) in "
            f"{conflicts:.0%} of the {len(own)} steps looked at, with a mean cosine of "
            f"{np.mean([line['cosine'] for line in own]):.2f}; the contrastive gradient is "
            f"{ratio:.2g} times as long."
        )
        floors = [value for line in own for value in line["floors"].values()]
        if floors:
            said.append(
                "One objective with itself, on two batches, has a mean cosine of "
                f"{np.mean(floors):.2f} and would conflict in "
                f"{np.mean([value < 0 for value in floors]):.0%}: what is no worse is noise."
            )
    return " ".join(said)


def _objectives(accords: Accords) -> list[str]:
    return list(dict.fromkeys(line["objective"] for line in accords))


def _dots(
    figure: go.Figure, lines: Accords, values: list[float], name: str, ink: str, **more: Any
) -> None:
    figure.add_scatter(
        x=[line["step"] for line in lines],
        y=values,
        name=name,
        mode="lines+markers",
        line={"color": INK[ink], "width": 1.5, **more},
        marker={"size": 4},
    )
