# mypy: ignore-errors
"""Over rows that belong together by a label."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from nearfar.loss.loops._numba import ONE, ZERO, compiled, inner, run
from nearfar.loss.loops._threads import on_threads


def gather(x: Tensor, label: Tensor, share: Tensor, sums: Tensor, similarity: Tensor) -> None:
    """Rows added up by label, and the products of all pairs of each, a row with itself left out.

    Args:
        x: (n, d).
        label: (n,), counted from 0.
        share: (l,) of each label's products.
        sums: (l, d) zeros, to be added to.
        similarity: (l,) receives the products' sums, times the share.
    """
    run(_gather, x, label, share, sums, similarity)


def contrast(
    sums: Tensor, some: Tensor, shift: float, positive: Tensor, weights: Tensor | None
) -> float:
    """The sum of log(sums) + shift over some rows, less that of the positives.

    Args:
        sums: (n,).
        some: (n,) which.
        shift: Added to each.
        positive: (l,).
        weights: (n,) receives the derivatives by the sums; None: nobody asks.
    """
    return sum(run(_contrast, sums, some, shift, positive, weights).tolist())


@inner
def _gather_part(thread, threads, x, label, share, sums, similarity):
    height, width = x.shape
    count = len(sums)
    # Of some labels, all rows.
    first, last = count * thread // threads, count * (thread + 1) // threads
    squares = np.zeros(last - first)
    for i in range(height):
        k = label[0, i]
        if first <= k < last:
            for j in range(width):
                sums[k, j] += x[i, j]
            square = ZERO
            for j in range(width):
                square += x[i, j] * x[i, j]
            squares[k - first] += square
    for k in range(first, last):
        square = ZERO
        for j in range(width):
            square += sums[k, j] * sums[k, j]
        similarity[0, k] = share[0, k] * (square - squares[k - first])


@compiled
def _gather(threads, *words):
    on_threads(threads, _gather_part, words)


@inner
def _contrast_part(thread, threads, sums, some, shift, positive, weights, totals):
    width = sums.shape[1]
    total = 0.0
    for i in range(width * thread // threads, width * (thread + 1) // threads):
        if some[0, i]:
            total += math.log(np.float64(sums[0, i])) + shift
        if weights is not None:
            weights[0, i] = ONE / sums[0, i] if some[0, i] else ZERO
    totals[thread] = total


@compiled
def _contrast(threads, sums, some, shift, positive, weights):
    totals = np.zeros(threads)
    on_threads(threads, _contrast_part, (sums, some, shift, positive, weights, totals))
    for k in range(positive.shape[1]):
        totals[0] -= positive[0, k]
    return totals
