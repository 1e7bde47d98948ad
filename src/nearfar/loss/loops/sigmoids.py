# mypy: ignore-errors
"""Over a tile of a matrix of which every pair stands alone."""

from __future__ import annotations

import math

import numpy as np
import torch

from nearfar.loss._numbers import FAINT
from nearfar.loss.loops._entries import put, take
from nearfar.loss.loops._line import LINE, below, double, largest, products, size, spread, total
from nearfar.loss.loops._numba import ONE, ZERO, compiled, inner, run
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops._tile import Entries, apart, exp2, leave_out_of

_FAINT = np.float32(FAINT[torch.float32])
# Entries of a row of which half have a product, each from one to two, that is a number.
_FACTORS = 1024
# The logarithm of one and less than this is less than this, to seven digits.
_LITTLE = np.float32(2**-22)
_NEVER = np.float32(-math.inf)


def sigmoid(
    tile: Entries, factor: float, offset: float, out: Entries, left_out: np.ndarray
) -> tuple[float, float]:
    """Sums of log(1 + 2^x), x = factor * tile + offset, and of its derivative, which is in ``out``.

    Args:
        tile: (n, m).
        factor: Of each.
        offset: Added to each.
        out: (n, m), may be the tile.
        left_out: `places` of diagonals where zero is to come out.
    """
    sums = run(_sigmoid, apart(tile, out), np.float32(factor), np.float32(offset), out, left_out)
    return tuple(sums.sum(0).tolist())


@inner
def nothing_yet():
    """What `pair` adds to."""
    none = spread(ZERO)
    return none, none, none, none, spread(1.0)


@inner
def _of_line(x):
    # At most one, whatever x is.
    small = exp2(ZERO - size(x))
    slope = below(x, ZERO, small, ONE) / (small + ONE)
    return small, slope, below(x, ZERO, ZERO, x), below(slope, _FAINT, ZERO, slope)


@inner
def pair(x, y, so_far):
    """Of two lines in base 2: their sigmoids, without what is too small to count, and sums."""
    above, slopes, each, highest, product = so_far
    small, slope, up, first = _of_line(x)
    other, more, further, second = _of_line(y)
    both = small + other
    above, slopes, each = above + (up + further), slopes + (slope + more), each + both
    product = product * (double(both + small * other) + 1.0)
    return first, second, (above, slopes, each, below(highest, both, both, highest), product)


@inner
def added_up(so_far):
    """Sums of log(1 + 2^x) and of sigmoids."""
    above, slopes, each, highest, product = so_far
    logs = 0.0
    # log(1 + 2^-|x|): many by one logarithm of a product.
    for some in products(product):
        logs += math.log(some)
    # One and little more is not told from one; the logarithm of that is the little more.
    if largest(highest) < _LITTLE:
        logs = np.float64(total(each))
    return np.float64(total(above)) * math.log(2) + logs, np.float64(total(slopes))


@inner
def _sigmoid_part(thread, threads, tile, factor, offset, out, left_out, sums):
    height, width = out.shape
    source = out if tile is None else tile
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        leave_out_of(source, i, left_out)
        for first in range(0, width, _FACTORS):
            so_far = nothing_yet()
            last = min(first + _FACTORS, width)
            whole = last - (last - first) % (2 * LINE)
            for j in range(first, whole, 2 * LINE):
                x = take(source, i, j, None) * factor + offset
                y = take(source, i, j + LINE, None) * factor + offset
                one, other, so_far = pair(x, y, so_far)
                put(out, i, j, one, None)
                put(out, i, j + LINE, other, None)
            for j in range(whole, last, LINE):
                x = take(source, i, j, True) * factor + offset
                one, _, so_far = pair(x, spread(_NEVER), so_far)
                put(out, i, j, one, True)
            losses, slopes = added_up(so_far)
            sums[thread, 0] += losses
            sums[thread, 1] += slopes


@compiled
def _sigmoid(threads, tile, factor, offset, out, left_out):
    sums = np.zeros((threads, 2))
    on_threads(threads, _sigmoid_part, (tile, factor, offset, out, left_out, sums))
    return sums
