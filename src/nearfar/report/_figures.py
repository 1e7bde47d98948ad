"""Curves and histograms, by plotly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from nearfar.report._game import Game

_INK = {"blue": "#4c78a8", "orange": "#f58518", "green": "#3a9d5d", "grey": "#888888"}
Lines = list[dict[str, float]]


def _figure(x: str, y: str, height: int = 320) -> go.Figure:
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


def _curve(figure: go.Figure, lines: Lines, key: str, name: str, ink: str, **more: Any) -> None:
    points = [(line["step"], line[key]) for line in lines if math.isfinite(line.get(key, math.nan))]
    style = {"color": _INK[ink], "width": 2, **more.pop("line", {})}
    figure.add_scatter(
        x=[step for step, _ in points],
        y=[value for _, value in points],
        name=name,
        mode="lines+markers" if len(points) < 3 else "lines",
        line=style,
        **more,
    )


def loss(lines: Lines) -> go.Figure:
    """Loss against chance, and top-1 of the game."""
    figure = _figure("step", "nats")
    _curve(figure, lines, "info_nce", "InfoNCE", "blue")
    _curve(figure, lines, "chance", "chance, log(K+1)", "grey", line={"dash": "dash"})
    _curve(figure, lines, "top1", "top-1 (right axis)", "green", yaxis="y2")
    figure.update_layout(
        yaxis2={"overlaying": "y", "side": "right", "range": [0, 1.02], "tickformat": ".0%"}
    )
    return figure


def similarity(game: Game) -> go.Figure:
    """Positive and negative similarities with alpha, beta and the effective margin."""
    figure = _figure("cosine similarity", "density")
    for values, name, ink in (
        (game.negative, "negatives", "orange"),
        (game.positive, "positives", "blue"),
    ):
        heights, edges = np.histogram(values, bins=60, range=(-1, 1), density=True)
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=heights,
            width=2 / 60,
            name=name,
            marker={"color": _INK[ink], "opacity": 0.6},
        )
    figure.update_layout(barmode="overlay", hovermode="closest")
    for value, text, height in (
        (game.alpha, f"α {game.alpha:.2f}", 1.0),
        (game.beta, f"β {game.beta:.2f}", 0.88),
        (game.margin, f"m_eff {game.margin:.2f}", 0.76),
    ):
        figure.add_vline(x=value, line={"color": _INK["grey"], "dash": "dot"})
        figure.add_annotation(
            x=value, y=height, yref="paper", text=text, showarrow=False, xanchor="left", xshift=4
        )
    return figure


def geometry(lines: Lines) -> go.Figure:
    """Alignment and uniformity."""
    figure = _figure("step", "alignment")
    _curve(figure, lines, "alignment", "alignment (lower: partners nearer)", "blue")
    _curve(figure, lines, "uniformity", "uniformity (lower: more even)", "orange", yaxis="y2")
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "title": "uniformity"})
    return figure


def information(lines: Lines) -> go.Figure:
    """The mutual-information bound against its ceiling."""
    figure = _figure("step", "nats")
    _curve(figure, lines, "mutual_information", "log(K+1) - loss", "blue")
    _curve(figure, lines, "chance", "ceiling, log(K+1)", "grey", line={"dash": "dash"})
    return figure


def temperature(lines: Lines) -> go.Figure:
    """Temperature and learning rate."""
    figure = _figure("step", "temperature", 240)
    _curve(figure, lines, "temperature", "temperature", "blue")
    _curve(figure, lines, "lr", "learning rate (right axis)", "grey", yaxis="y2")
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right"})
    return figure


def forces(lines: Lines) -> go.Figure:
    """Pull, push and effective rank."""
    figure = _figure("step", "length")
    _curve(figure, lines, "pull_norm", "pull |k₊| / τ", "blue")
    _curve(figure, lines, "push_norm", "push |Σ pⱼ kⱼ| / τ", "orange")
    _curve(figure, lines, "effective_rank", "effective rank (right axis)", "green", yaxis="y2")
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "rangemode": "tozero"})
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
    figure = _figure("", "", 640)
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
