"""Figures of the anatomy: what the temperature weighs, the crowd's margin, lengths."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
import torch

from nearfar.anatomy import hardest_share, margin, read
from nearfar.report._figures import INK, Lines, curve, empty, right
from nearfar.report._game import Look

TEMPERATURES = np.geomspace(0.01, 2, 25)


def weighing(look: Look) -> go.Figure:
    """What each temperature would weigh, these embeddings given."""
    figure = empty("temperature", "share of the push")
    for part, name, ink in ((0.01, "the hardest 1 %", "orange"), (0.1, "the hardest 10 %", "blue")):
        shares = [
            hardest_share(look.query, look.key, float(tau), part, mask=look.crowd).mean().item()
            for tau in TEMPERATURES
        ]
        figure.add_scatter(x=TEMPERATURES, y=shares, name=name, line={"color": INK[ink]})
        # All alike, as at an infinite temperature.
        figure.add_hline(y=part, line={"color": INK[ink], "dash": "dot", "width": 1})
    figure.add_vline(x=look.game.temperature, line={"color": INK["grey"], "dash": "dash"})
    figure.update_xaxes(type="log")
    figure.update_yaxes(range=[0, 1.02], tickformat=".0%")
    return figure


def crowd(look: Look) -> go.Figure:
    """The loss against the number of negatives, and what each reading of the margin says."""
    figure = empty("negatives a query, K", "nats")
    rows, similarity = len(look.query), look.query @ look.key.T
    # Of each query its own next rows, those that are no negatives last: the same number for all.
    after = (torch.arange(rows)[:, None] + torch.arange(1, rows)) % rows
    alike = ~look.crowd.gather(1, after)
    after = after.gather(1, alike.int().argsort(dim=1, stable=True))
    most = int((~alike).sum(1).min())
    counts = np.unique(np.geomspace(1, most, 12).round().astype(int))
    negative = similarity.gather(1, after)
    tau = look.game.temperature
    found = [margin(read(similarity.diagonal(), negative[:, :count], tau)) for count in counts]
    styles = (
        ("exact", "loss", "blue", "solid"),
        ("second_order", "mean + σ²/2τ", "green", "dash"),
        ("mean_field", "mean similarity", "orange", "dash"),
        ("hinge", "hinge", "grey", "dot"),
    )
    for name, text, ink, dash in styles:
        values = [getattr(reading, name) for reading in found]
        line = {"color": INK[ink], "dash": dash}
        figure.add_scatter(x=counts, y=values, name=text, line=line, mode="lines+markers")
    figure.update_xaxes(type="log")
    return figure


def lengths(lines: Lines) -> go.Figure:
    """How long the vectors are before they are scaled, and how far a step turns them."""
    figure = empty("step", "length before scaling")
    curve(figure, lines, "length_high", "95 % are shorter", "grey", line={"dash": "dot"})
    curve(figure, lines, "length_middle", "half are shorter", "blue")
    curve(figure, lines, "length_low", "5 % are shorter", "grey", line={"dash": "dash"})
    turned = [
        line | {"turn": line["lr"] / line["length_middle"] ** 2}
        for line in lines
        if line.get("length_middle", math.nan) > 0 and "lr" in line
    ]
    curve(figure, turned, "turn", "learning rate / length² (right axis)", "green", yaxis="y2")
    figure.update_layout(yaxis={"rangemode": "tozero"}, yaxis2=right())
    return figure


def sharpness(lines: Lines) -> go.Figure:
    """Who pushes: the hardest, and how many count, over the training."""
    figure = empty("step", "share of the push")
    curve(figure, lines, "hardest_1", "the hardest 1 %", "orange")
    curve(figure, lines, "hardest_10", "the hardest 10 %", "blue")
    curve(figure, lines, "effective_negatives", "negatives that count (right)", "green", yaxis="y2")
    figure.update_layout(
        yaxis={"tickformat": ".0%", "range": [0, 1.02]},
        yaxis2=right(rangemode="tozero"),
    )
    return figure
