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
    affine = np.float32(factor), np.float32(offset)
    sums = run(_sigmoid, apart(tile, out), affine, out, left_out)
    return tuple(sums.sum(0).tolist())


@inner
def _sigmoids(source, affine, out, i, j, part):
    factor, offset = affine
    x = take(source, i, j, part) * factor + offset
    # At most one, whatever x is.
    small = exp2(ZERO - size(x))
    slope = below(x, ZERO, small, ONE) / (small + ONE)
    put(out, i, j, below(slope, _FAINT, ZERO, slope), part)
    return small, slope, below(x, ZERO, ZERO, x)


@inner
def _sigmoid_part(thread, threads, tile, affine, out, left_out, sums):
    height, width = out.shape
    source = out if tile is None else tile
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        leave_out_of(source, i, left_out)
        above = slopes = each = highest = spread(ZERO)
        logs = 0.0
        for first in range(0, width, _FACTORS):
            product = spread(1.0)
            last = min(first + _FACTORS, width)
            whole = last - (last - first) % (2 * LINE)
            for j in range(first, whole, 2 * LINE):
                small, slope, up = _sigmoids(source, affine, out, i, j, None)
                other, more, further = _sigmoids(source, affine, out, i, j + LINE, None)
                above += up + further
                slopes += slope + more
                both = small + other
                each += both
                highest = below(highest, both, both, highest)
                product *= double(both + small * other) + 1.0
            for j in range(whole, last, LINE):
                small, slope, up = _sigmoids(source, affine, out, i, j, True)
                above += up
                slopes += slope
                each += small
                highest = below(highest, small, small, highest)
                product *= double(small) + 1.0
            # log(1 + exp(x)): many by one logarithm of a product.
            for some in products(product):
                logs += math.log(some)
        # One and little more is not told from one; the logarithm of that is the little more.
        if largest(highest) < _LITTLE:
            logs = np.float64(total(each))
        sums[thread, 0] += np.float64(total(above)) * math.log(2) + logs
        sums[thread, 1] += total(slopes)


@compiled
def _sigmoid(threads, tile, affine, out, left_out):
    sums = np.zeros((threads, 2))
    on_threads(threads, _sigmoid_part, (tile, affine, out, left_out, sums))
    return sums
