# mypy: ignore-errors
"""Over a tile of a matrix. Entries are float32, or bfloat16 as the 16 bits that they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import Tensor

from nearfar.loss._numbers import FAINT
from nearfar.loss.loops._numba import ONE, ZERO, bare, compiled, load, nothing, run, store
from nearfar.loss.loops._past import BYTES, ENTRY, past, settle

__all__ = ["bare", "exponentiate", "force", "places", "sigmoid"]

# The exponential's power series: from -1/2 to 1/2, what is missing is below 1e-8.
_SERIES = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7, -1, -1))
_LEAST, _FAINT = np.float32(-126), np.float32(FAINT[torch.float32])
# Entries whose product, each from one to two, is a number.
_FACTORS = 512
# The logarithm of one and less than this is less, to eight digits.
_LITTLE = np.float32(1e-8)
# Rows that are added to the sums of columns at once.
_ROWS = 4


# What loops take: a tensor, or what `bare` has made of it beforehand.
Entries = Tensor | np.ndarray


def places(left_out: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(P, 3) row, column and length of diagonals, as loops take them."""
    return np.array(left_out, np.int64).reshape(-1, 3)


def exponentiate(
    tile: Entries,
    shift: float,
    out: Entries,
    rows: Entries | None,
    columns: Entries | None,
    left_out: np.ndarray,
    *,
    far: bool = False,
) -> None:
    """exp2(tile - shift) in ``out``, which may be the tile; of several, one below the other.

    Args:
        tile: (s * n, m) logits.
        shift: Taken from each.
        out: (s * n, m).
        rows: (s, n), or (n,) of one tile, receives sums of rows; None: nobody asks.
        columns: (s, m), or (m,), receives sums of columns; not without those of rows.
        left_out: `places` of diagonals where zero is to come out.
        far: ``out``, all in one piece, is not to be brought into the cache.
    """
    # A type of its own, and loops of its own: what they ask of every entry would make them slow.
    past_cache = True if far and out.itemsize == ENTRY else None
    words = np.float32(shift), out, rows, columns, left_out, past_cache
    run(_exponentiate, _apart(tile, out), *words)


def force(
    tile: Entries, row: Entries, column: Entries | None, out: Entries, *, steep: bool = False
) -> None:
    """(row_i + column_j) tile_ij in ``out``, which may be the tile; of several as above.

    Args:
        tile: (s * n, m).
        row: (s, n), or (n,) of one tile.
        column: (s, m), or (m,); None: zeros.
        out: (s * n, m).
        steep: Make what is too small to count zero, which takes a quarter longer.
    """
    run(_force, _apart(tile, out), row, column, out, _FAINT if steep else None)


def sigmoid(
    tile: Entries, offset: float, out: Entries, left_out: np.ndarray
) -> tuple[float, float]:
    """Sums of log(1 + exp(x)) and of its derivative; the derivatives in ``out``.

    Args:
        tile: (n, m) logits x in base 2.
        offset: Added to each, in base 2, too.
        out: (n, m), may be the tile.
        left_out: `places` of diagonals where zero is to come out.
    """
    sums = run(_sigmoid, _apart(tile, out), np.float32(offset), out, left_out)
    return tuple(sums.sum(0).tolist())


def _apart(tile: Entries, out: Entries) -> Entries | None:
    """The tile; None if it is ``out``: loops that have to ask whether it is are not vectorised."""
    return None if tile is out else tile


@numba.njit(inline="always")
def _exp2(x):
    whole = np.rint(x)
    rest = x - whole
    power = _SERIES[0]
    for coefficient in _SERIES[1:]:
        power = power * rest + coefficient
    # Beyond the range these are any bits: NaN has gone into ``power``, and zero takes the rest.
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return ZERO if x < _LEAST else power * bits.view(np.float32)


@numba.njit(inline="always")
def _counting(force):
    return ZERO if abs(force) < _FAINT else force


@numba.njit
def _leave_out(tile, i, left_out):
    for k in range(len(left_out)):
        down = i - left_out[k, 0]
        if 0 <= down < left_out[k, 2]:
            j = left_out[k, 1] + down
            tile[i, j] = nothing(tile[i, j])


@numba.njit(inline="always")
def _put(made, k, out, i):
    """A row of float32 past the cache, but for its ends."""
    width = out.shape[1]
    to, found = out.ctypes.data + i * width * ENTRY, made.ctypes.data + k * width * ENTRY
    first = min(-to % BYTES // ENTRY, width)
    lines = (width - first) * ENTRY // BYTES
    past(to + first * ENTRY, found + first * ENTRY, lines)
    for j in range(first):
        out[i, j] = made[k, j]
    for j in range(first + lines * BYTES // ENTRY, width):
        out[i, j] = made[k, j]


@compiled
def _exponentiate(threads, tile, shift, out, rows, columns, left_out, far):
    height, width = out.shape
    each = height if rows is None else rows.shape[1]
    source = out if tile is None else tile
    parts = np.zeros((threads, height // max(each, 1), width), np.float32)
    for thread in numba.prange(threads):
        made = np.zeros((_ROWS, width), np.float32)
        top, last = height * thread // threads, height * (thread + 1) // threads
        while top < last:
            number = top // each
            count = min(_ROWS, last - top, (number + 1) * each - top)
            for k in range(count):
                i, total = top + k, ZERO
                _leave_out(source, i, left_out)
                for j in range(width):
                    entry = _exp2(load(source[i, j]) - shift)
                    if columns is not None or far is not None:
                        made[k, j] = entry
                    if far is None:
                        out[i, j] = store(entry, out[i, j])
                    total += entry
                if rows is not None:
                    rows[number, i - number * each] += total
                if far is not None:
                    _put(made, k, out, i)
            if columns is not None:
                part = parts[thread, number]
                made[count:] = ZERO
                for j in range(width):
                    part[j] += (made[0, j] + made[1, j]) + (made[2, j] + made[3, j])
            top += count
        if far is not None:
            settle()
    if columns is not None:
        for thread in range(threads):
            # By its entries: a name that is bound anew is not seen to be None by older numba.
            columns[:] += parts[thread]


@compiled
def _force(threads, tile, row, column, out, faint):
    height, width = out.shape
    each = row.shape[1]
    source = out if tile is None else tile
    for thread in numba.prange(threads):
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            number = i // each
            weight = row[number, i - number * each]
            for j in range(width):
                both = weight if column is None else weight + column[number, j]
                entry = both * load(source[i, j])
                if faint is not None:
                    entry = _counting(entry)
                out[i, j] = store(entry, out[i, j])


@compiled
def _sigmoid(threads, tile, offset, out, left_out):
    height, width = out.shape
    source = out if tile is None else tile
    sums = np.zeros((threads, 2))
    for thread in numba.prange(threads):
        made = np.zeros(width, np.float32)
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            _leave_out(source, i, left_out)
            above = below = each = ZERO
            for j in range(width):
                x = load(source[i, j]) + offset
                # At most one, whatever x is.
                small = _exp2(-abs(x))
                slope = (ONE if x >= ZERO else small) / (ONE + small)
                above += max(x, ZERO)
                each += slope
                made[j] = ZERO if small < _LITTLE else small
                below += small - made[j]
                out[i, j] = store(_counting(slope), out[i, j])
            # log(1 + exp(x)): many by one logarithm of a product.
            for first in range(0, width, _FACTORS):
                product = 1.0
                for small in made[first : first + _FACTORS]:
                    product *= 1.0 + np.float64(small)
                sums[thread, 0] += math.log(product)
            sums[thread, 0] += np.float64(above) * math.log(2) + np.float64(below)
            sums[thread, 1] += each
    return sums
