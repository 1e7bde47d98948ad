# mypy: ignore-errors
"""Over rows that belong together by a label."""

from __future__ import annotations

import numba
import numpy as np
from torch import Tensor

from nearfar.loss.loops._numba import ZERO, compiled, run


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


def attract(to: Tensor, weight: Tensor, sums: Tensor, label: Tensor, itself: Tensor) -> None:
    """``to_i += weight_l (sums_l - itself_i)``, l the label of row i.

    Args:
        to: (n, d).
        weight: (l,).
        sums: (l, d).
        label: (n,), counted from 0.
        itself: (n, d).
    """
    run(_attract, to, weight, sums, label, itself)


@compiled
def _gather(threads, x, label, share, sums, similarity):
    height, width = x.shape
    count = len(sums)
    for thread in numba.prange(threads):
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
def _attract(threads, to, weight, sums, label, itself):
    height, width = to.shape
    for thread in numba.prange(threads):
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            k = label[0, i]
            for j in range(width):
                to[i, j] += weight[0, k] * (sums[k, j] - itself[i, j])
