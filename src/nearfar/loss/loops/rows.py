# mypy: ignore-errors
"""Over the rows of a matrix."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from nearfar.loss.loops._numba import ONE, ZERO, compiled, inner, run
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops._tile import Entries


def unit(x: Tensor, least: float, out: Tensor, length: Tensor) -> None:
    """Rows scaled to length one, or divided by ``least`` if they are shorter.

    Args:
        x: (n, d).
        least: The lowest length that counts.
        out: (n, d).
        length: (n, 1) receives what they were divided by.
    """
    run(_unit, x, np.float32(least), out, length)


def across(grad: Tensor, unit: Tensor, length: Tensor, least: float, out: Tensor) -> None:
    """The gradient of rows before `unit`: what lies along a row is gone.

    Args:
        grad: (n, d) of the scaled rows.
        unit: (n, d) they themselves.
        length: (n, 1) what they were divided by.
        least: Rows of this length were shorter, and divided by a constant.
        out: (n, d).
    """
    run(_across, grad, unit, length, np.float32(least), out)


def dots(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Of each row of one and the same row of the other, their product.

    Args:
        a: (n, d).
        b: (n, d).
        out: (1, n).
    """
    run(_dots, a, b, out)


def meet(a: Tensor, b: Tensor, out: Tensor) -> tuple[float, float]:
    """As `dots`; and the largest product of a row with itself, of each matrix.

    Args:
        a: (n, d).
        b: (n, d).
        out: (n,).
    """
    tops = run(_meet, a, b, out)
    return max(tops[:, 0].tolist()), max(tops[:, 1].tolist())


def weigh(crowd: Entries, beside: Tensor, rows: Tensor, share: Tensor, out: Tensor) -> None:
    """Rows divided by ``crowd + beside``.

    Args:
        crowd: (n,).
        beside: (n,).
        rows: (n, d).
        share: (n,) receives what rows were multiplied by.
        out: (n, d).
    """
    run(_weigh, crowd, beside, rows, share, out)


def contrast(
    sums: Tensor,
    positive: Tensor,
    decoupled: bool,
    share: float,
    grad: Tensor,
    weights: Tensor | None,
) -> float:
    """``share`` times the sum of log(1 + sums_si / exp(positive_i)).

    Args:
        sums: (s, n).
        positive: (n,).
        decoupled: Without the one.
        share: Of all.
        grad: (n,) receives the derivatives by the positives.
        weights: (s * n,) receives those by the sums, before the share; None: nobody asks.
    """
    out = None if weights is None else weights.view_as(sums)
    return share * sum(run(_contrast, sums, positive, decoupled, share, grad, out).tolist())


@inner
def _unit_part(thread, threads, x, least, out, length):
    height, width = x.shape
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        total = ZERO
        for j in range(width):
            total += x[i, j] * x[i, j]
        norm = max(np.float32(math.sqrt(total)), least)
        length[i, 0] = norm
        for j in range(width):
            out[i, j] = x[i, j] / norm


@compiled
def _unit(threads, *words):
    on_threads(threads, _unit_part, words)


@inner
def _across_part(thread, threads, grad, unit, length, least, out):
    height, width = grad.shape
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        along = ZERO
        for j in range(width):
            along += grad[i, j] * unit[i, j]
        if length[i, 0] <= least:
            along = ZERO
        share = ONE / length[i, 0]
        for j in range(width):
            out[i, j] = (grad[i, j] - along * unit[i, j]) * share


@compiled
def _across(threads, *words):
    on_threads(threads, _across_part, words)


@inner
def _dots_part(thread, threads, a, b, out):
    height, width = a.shape
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        total = ZERO
        for j in range(width):
            total += a[i, j] * b[i, j]
        out[0, i] = total


@compiled
def _dots(threads, *words):
    on_threads(threads, _dots_part, words)


@inner
def _meet_part(thread, threads, a, b, out, tops):
    height, width = a.shape
    top_a = top_b = ZERO
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        total = square_a = square_b = ZERO
        for j in range(width):
            total += a[i, j] * b[i, j]
            square_a += a[i, j] * a[i, j]
            square_b += b[i, j] * b[i, j]
        out[0, i] = total
        top_a, top_b = max(top_a, square_a), max(top_b, square_b)
    tops[thread, 0], tops[thread, 1] = top_a, top_b


@compiled
def _meet(threads, a, b, out):
    tops = np.zeros((threads, 2), np.float32)
    on_threads(threads, _meet_part, (a, b, out, tops))
    return tops


@inner
def _weigh_part(thread, threads, crowd, beside, rows, share, out):
    height, width = rows.shape
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        mine = ONE / (crowd[0, i] + beside[0, i])
        share[0, i] = mine
        for j in range(width):
            out[i, j] = mine * rows[i, j]


@compiled
def _weigh(threads, *words):
    on_threads(threads, _weigh_part, words)


@inner
def _contrast_part(thread, threads, sums, positive, decoupled, share, grad, weights, totals):
    sides, width = sums.shape
    total = 0.0
    for i in range(width * thread // threads, width * (thread + 1) // threads):
        own = np.float64(positive[0, i])
        beside = math.exp(own)
        slope = 0.0
        for side in range(sides):
            crowd = np.float64(sums[side, i])
            if decoupled:
                weight = 1 / crowd
                total += math.log(crowd) - own
            else:
                weight = 1 / (crowd + beside)
                total += math.log1p(crowd / beside)
            slope += crowd * weight
            if weights is not None:
                weights[side, i] = weight
        grad[0, i] = -share * slope
    totals[thread] = total


@compiled
def _contrast(threads, sums, positive, decoupled, share, grad, weights):
    totals = np.zeros(threads)
    on_threads(threads, _contrast_part, (sums, positive, decoupled, share, grad, weights, totals))
    return totals
