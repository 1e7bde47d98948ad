"""Do several objectives pull the same way? Cosines over the training, against the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

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
    steps, names, grid = _by_layer(accords, "layers")
    return _map(steps, names, grid, zmin=-1, zmax=1, colorscale="RdBu", title="cosine")


def layer_lengths(accords: Accords) -> go.Figure:
    """How many times as long the contrastive gradient is, layer by layer."""
    steps, names, grid = _by_layer(accords, "layer_ratios")
    with np.errstate(divide="ignore"):
        powers = np.log10(grid).clip(-2, 2)
    marks = {"tickvals": [-2, -1, 0, 1, 2], "ticktext": ["0.01", "0.1", "1", "10", "100"]}
    return _map(
        steps, names, powers, zmin=-2, zmax=2, colorscale="PuOr", title="times as long", **marks
    )


def _by_layer(accords: Accords, key: str) -> tuple[list[int], list[str], NDArray[np.float64]]:
    """Steps, layers, and (layers, steps) values of the first pair of objectives."""
    objective = _objectives(accords)[0]
    own = [line for line in accords if line["objective"] == objective]
    names = list(dict.fromkeys(name for line in own for name in line[key]))
    grid = np.array([[line[key].get(name, np.nan) for line in own] for name in names], float)
    return [line["step"] for line in own], names, grid


def _map(
    steps: list[int],
    names: list[str],
    grid: NDArray[np.float64],
    *,
    zmin: float,
    zmax: float,
    colorscale: str,
    **bar: Any,
) -> go.Figure:
    figure = empty("step", "", 120 + 16 * len(names))
    figure.add_heatmap(
        z=grid, x=steps, y=names, zmin=zmin, zmax=zmax, colorscale=colorscale, colorbar=bar
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
