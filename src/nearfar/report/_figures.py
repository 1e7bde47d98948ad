"""Curves and histograms, by plotly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nearfar.report._game import Look

INK = {"blue": "#4c78a8", "orange": "#f58518", "green": "#3a9d5d", "grey": "#888888"}
Lines = list[dict[str, float]]


def empty(x: str, y: str, height: int = 320) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 45},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#808080"},
        legend={"orientation": "h", "y": 1.12, "x": 0},
        hovermode="x unified",
    )
    grid = {"gridcolor": "rgba(128,128,128,0.2)", "zerolinecolor": "rgba(128,128,128,0.3)"}
    figure.update_xaxes(title=x, **grid)
    figure.update_yaxes(title=y, **grid)
    return figure


def curve(figure: go.Figure, lines: Lines, key: str, name: str, ink: str, **more: Any) -> None:
    points = [(line["step"], line[key]) for line in lines if math.isfinite(line.get(key, math.nan))]
    style = {"color": INK[ink], "width": 2, **more.pop("line", {})}
    figure.add_scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=name,
        mode="lines+markers" if len(points) < 3 else "lines",
        line=style,
        **more,
    )


def right(**more: Any) -> dict[str, Any]:
    """A second scale on the right, with round numbers of its own."""
    return {"overlaying": "y", "side": "right", "tickmode": "auto", "showgrid": False, **more}


def loss(lines: Lines) -> go.Figure:
    """Loss against chance, and top-1 of the game."""
    figure = empty("step", "nats")
    curve(figure, lines, "info_nce", "InfoNCE", "blue")
    curve(figure, lines, "chance", "chance, log(K+1)", "grey", line={"dash": "dash"})
    curve(figure, lines, "top1", "top-1 (right axis)", "green", yaxis="y2")
    figure.update_layout(yaxis2=right(range=[0, 1.02], tickformat=".0%"))
    return figure


def similarity(look: Look) -> go.Figure:
    """Positive and negative similarities with alpha, beta and the effective margin."""
    figure = empty("cosine similarity", "density")
    for values, name, ink in (
        (look.negative, "negatives", "orange"),
        (look.positive, "positives", "blue"),
    ):
        heights, edges = np.histogram(values, bins=60, range=(-1, 1), density=True)
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=heights,
            width=2 / 60,
            name=name,
            marker={"color": INK[ink], "opacity": 0.6},
        )
    figure.update_layout(barmode="overlay", hovermode="closest")
    for value, text, height in (
        (look.margin.alpha, f"α {look.margin.alpha:.2f}", 1.0),
        (look.margin.level, f"β {look.margin.level:.2f}", 0.88),
        (look.margin.effective, f"m_eff {look.margin.effective:.2f}", 0.76),
    ):
        figure.add_vline(x=value, line={"color": INK["grey"], "dash": "dot"})
        figure.add_annotation(
            x=value, y=height, yref="paper", text=text, showarrow=False, xanchor="left", xshift=4
        )
    return figure


def geometry(lines: Lines) -> go.Figure:
    """Alignment, uniformity and effective rank."""
    figure = empty("step", "alignment")
    curve(figure, lines, "alignment", "alignment (lower: partners nearer)", "blue")
    curve(figure, lines, "uniformity", "uniformity (lower: more even)", "orange", yaxis="y2")
    curve(figure, lines, "effective_rank", "effective rank (far right)", "green", yaxis="y3")
    figure.update_layout(
        xaxis={"domain": [0, 0.88]},
        yaxis2=right(title="uniformity"),
        yaxis3=right(anchor="free", position=1.0, rangemode="tozero"),
    )
    return figure


def information(lines: Lines) -> go.Figure:
    """The mutual-information bound against its ceiling."""
    figure = empty("step", "nats")
    curve(figure, lines, "mutual_information", "log(K+1) - loss", "blue")
    curve(figure, lines, "chance", "ceiling, log(K+1)", "grey", line={"dash": "dash"})
    return figure


def temperature(lines: Lines) -> go.Figure:
    """Temperature, and where the loss would like it to go."""
    figure = empty("step", "temperature", 240)
    curve(figure, lines, "temperature", "temperature", "blue")
    curve(figure, lines, "log_scale_gradient", "dL / d log(1/τ) (right axis)", "green", yaxis="y2")
    figure.update_layout(yaxis={"rangemode": "tozero"}, yaxis2=right())
    return figure


def forces(lines: Lines) -> go.Figure:
    """Pull and push, and the angle between them."""
    figure = empty("step", "length")
    curve(figure, lines, "pull_norm", "pull |k₊| / τ", "blue")
    curve(figure, lines, "push_norm", "push |Σ pⱼ kⱼ| / τ", "orange")
    degrees = [
        line | {"angle": math.degrees(line["force_angle"])}
        for line in lines
        if "force_angle" in line
    ]
    curve(figure, degrees, "angle", "angle between them, ° (right axis)", "grey", yaxis="y2")
    figure.update_layout(yaxis2=right(rangemode="tozero"))
    return figure


def space_map(vectors: NDArray[np.float32], labels: list[str]) -> go.Figure:
    """A 2-D map: t-SNE (van der Maaten & Hinton 2008); principal components of a tiny sample."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(vectors) < 10:
        wide = np.pad(vectors, ((0, 0), (0, max(0, 2 - vectors.shape[1]))))
        places = PCA(2).fit_transform(wide)
    else:
        perplexity = min(30.0, (len(vectors) - 1) / 3)
        places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(vectors)
    figure = empty("", "", 640)
    names = np.array(labels)
    for label in sorted(set(labels)):
        rows = np.flatnonzero(names == label)
        figure.add_scatter(
            x=places[rows, 0],
            y=places[rows, 1],
            mode="markers",
            name=label or "items",
            marker={"size": 6, "opacity": 0.8},
            customdata=rows,
            hoverinfo="none",
        )
    figure.update_layout(hovermode="closest", showlegend=len(set(labels)) > 1)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure
