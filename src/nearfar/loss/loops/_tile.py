# mypy: ignore-errors
"""What loops over tiles share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from nearfar.loss.loops._entries import CACHE_LINE, leave_out, turn
from nearfar.loss.loops._line import LINE, below, nearest, power, spread
from nearfar.loss.loops._numba import ZERO, bare, inner

# What loops take: a tensor, or what `bare` has made of it beforehand.
Entries = Tensor | np.ndarray
# exp2 from -1/2 to 1/2 as a polynomial, the highest power first: what is missing is below 5e-9.
_SERIES = tuple(
    np.float32(x)
    for x in Chebyshev.interpolate(np.exp2, 6, [-0.5, 0.5]).convert(kind=Polynomial).coef[::-1]
)
_LEAST = np.float32(-126)


def places(left_out: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(P, 3) row, column and length of diagonals, as loops take them."""
    return np.array(left_out, np.int64).reshape(-1, 3)


def apart(tile: Entries, out: Entries) -> Entries | None:
    """The tile; None if it is ``out``, of whom nobody then has to ask whether they overlap."""
    return None if tile is out else tile


def past_cache(out: Entries, far: bool) -> Literal[True] | None:
    """Whether to write past the cache: all rows must be of whole lines of it.

    The answer has a type, and loops, of its own: what they ask of every line would make them slow.
    """
    made = bare(out) if isinstance(out, Tensor) else out
    row = made.shape[-1] * made.itemsize
    whole = made.dtype == np.float32 and not (made.ctypes.data | row) % CACHE_LINE
    return True if far and whole else None


@inner
def exp2(x):
    """Of a line."""
    whole = nearest(x)
    rest = x - whole
    series = spread(_SERIES[0])
    for coefficient in _SERIES[1:]:
        series = series * rest + coefficient
    # Beyond the range powers are any numbers: NaN is in the series, and zero takes the rest.
    return below(x, _LEAST, ZERO, series * power(whole))


@inner
def leave_out_of(tile, i, left_out):
    """Minus infinity where diagonals cross row i."""
    for k in range(len(left_out)):
        down = i - left_out[k, 0]
        if 0 <= down < left_out[k, 2]:
            leave_out(tile, i, left_out[k, 1] + down)


@inner
def turn_what_is_there(x, here, bottom, out, there):
    """As `turn`, of rows above the bottom and columns within x."""
    (i, j), (row, column) = here, there
    if i + LINE <= bottom and j + LINE <= x.shape[1]:
        turn(x, i, j, out, row, column)
        return
    for down in range(min(LINE, bottom - i)):
        for across in range(min(LINE, x.shape[1] - j)):
            out[row + across, column + down] = x[i + down, j + across]
