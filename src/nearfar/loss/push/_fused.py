# mypy: ignore-errors
"""Passes over a tile in one loop each, compiled by numba; `_passes` says when.

PyTorch goes over a tile once for every operation, and a large one does not stay in the cache. Here
an entry is loaded once, and all is done to it that is to be done. Entries are float32, or bfloat16
as the 16 bits that they are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from threading import Lock, Thread

import numba
import numpy as np
import torch
from numba.extending import overload
from torch import Tensor

from nearfar.loss.push._crowd import Diagonal

# Whose threads numba's are.
PROCESS = os.getpid()
# numba starts its threads when it is first asked about them, and then tells OpenMP how many the
# asking thread may have: PyTorch's OpenMP may be the same, and has a number of its own.
_starter = Thread(target=numba.get_num_threads)
_starter.start()
_starter.join()
# Two launches at once are an error to the simplest of numba's thread pools.
_LAUNCH = Lock()
# Sums may be taken in any order; nothing is said of NaN and infinity, which must come through.
_LOOSE = {"reassoc", "contract", "nsz"}
# The exponential's power series: from -1/2 to 1/2, what is missing is below 1e-8.
_SERIES = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(7, -1, -1))
# And of 2 atanh, up to 1/3: below 1e-8, too.
_ODD = tuple(np.float32(2 / (2 * k + 1)) for k in range(8, -1, -1))
_LEAST, _ZERO, _ONE = np.float32(-126), np.float32(0), np.float32(1)
_LN2, _SMALL = np.float32(math.log(2)), np.float32(1e-15)


def exponentiate(
    tile: Tensor,
    shift: float,
    out: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    left_out: Sequence[Diagonal],
) -> None:
    """exp2(tile - shift) in ``out``, which may be the tile.

    Args:
        tile: (n, m) logits.
        shift: Taken from each.
        out: (n, m).
        rows: (n,) receives sums of rows; None: nobody asks.
        columns: (m,) receives sums of columns.
        left_out: Where zero is to come out.
    """
    places = np.array(left_out, np.int64).reshape(-1, 3)
    _run(_exponentiate, _apart(tile, out), np.float32(shift), out, rows, columns, places)


def force(tile: Tensor, row: Tensor, column: Tensor | None, out: Tensor) -> None:
    """(row_i + column_j) tile_ij in ``out``, which may be the tile.

    Args:
        tile: (n, m).
        row: (n,).
        column: (m,); None: zeros.
        out: (n, m).
    """
    _run(_force, _apart(tile, out), row, column, out)


def sigmoid(
    tile: Tensor, offset: float, scale: float, out: Tensor, left_out: Sequence[Diagonal]
) -> tuple[float, float]:
    """Sums of log(1 + exp(x)) and of its derivative; the derivatives times ``scale`` in ``out``.

    Args:
        tile: (n, m) logits x in base 2.
        offset: Added to each, in base 2, too.
        scale: Of what comes out.
        out: (n, m), may be the tile.
        left_out: Where zero is to come out.
    """
    places = np.array(left_out, np.int64).reshape(-1, 3)
    words = np.float32(offset), np.float32(scale)
    sums = _run(_sigmoid, _apart(tile, out), *words, out, places)
    return tuple(sums.sum(0).tolist())


def _apart(tile: Tensor, out: Tensor) -> Tensor | None:
    """The tile; None if it is ``out``: loops that have to ask whether it is are not vectorised."""
    return None if tile.data_ptr() == out.data_ptr() else tile


def _run(loop, *words):
    with _LAUNCH:
        return loop(
            torch.get_num_threads(), *(_bare(x) if isinstance(x, Tensor) else x for x in words)
        )


def _bare(x: Tensor) -> np.ndarray:
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def _compiled(loop):
    """Compiled once on this machine, if there is a folder to keep it in."""
    words = {"parallel": True, "nogil": True, "fastmath": _LOOSE, "error_model": "numpy"}
    try:
        return numba.njit(loop, cache=True, **words)
    except RuntimeError:
        return numba.njit(loop, **words)


def _load(x):
    """An entry as float32."""


def _store(x, like):
    """float32 as an entry of the kind of another, to the nearest, of two to the even one."""


def _nothing(like):
    """Minus infinity."""


@overload(_load, inline="always")
def _(x):
    if isinstance(x, numba.types.Float):
        return lambda x: x
    return lambda x: np.uint32(np.uint32(x) << np.uint32(16)).view(np.float32)


@overload(_store, inline="always")
def _(x, like):
    if isinstance(like, numba.types.Float):
        return lambda x, like: x

    def rounded(x, like):
        bits = np.float32(x).view(np.uint32)
        up = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16((bits + up) >> np.uint32(16))

    return rounded


@overload(_nothing, inline="always")
def _(like):
    if isinstance(like, numba.types.Float):
        return lambda like: np.float32(-np.inf)
    return lambda like: np.uint16(0xFF80)


@numba.njit(inline="always")
def _exp2(x):
    whole = np.rint(x)
    rest = x - whole
    power = _SERIES[0]
    for coefficient in _SERIES[1:]:
        power = power * rest + coefficient
    # Beyond the range these are any bits: NaN has gone into ``power``, and zero takes the rest.
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return _ZERO if x < _LEAST else power * bits.view(np.float32)


@numba.njit(inline="always")
def _log1p(x):
    """log(1 + x) from 0 to 1, which is 2 atanh(x / (2 + x))."""
    t = x / (_ONE + _ONE + x)
    # Squares of less would be denormal, with which processors are slow.
    square = max(t, _SMALL) * max(t, _SMALL)
    total = _ODD[0]
    for coefficient in _ODD[1:]:
        total = total * square + coefficient
    return total * t


@numba.njit
def _leave_out(tile, i, left_out):
    for k in range(len(left_out)):
        down = i - left_out[k, 0]
        if 0 <= down < left_out[k, 2]:
            j = left_out[k, 1] + down
            tile[i, j] = _nothing(tile[i, j])


@_compiled
def _exponentiate(threads, tile, shift, out, rows, columns, left_out):
    height, width = out.shape
    source = out if tile is None else tile
    parts = np.zeros((threads, width), np.float32)
    for thread in numba.prange(threads):
        part = parts[thread]
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            _leave_out(source, i, left_out)
            total = _ZERO
            for j in range(width):
                entry = _exp2(_load(source[i, j]) - shift)
                out[i, j] = _store(entry, out[i, j])
                total += entry
                if columns is not None:
                    part[j] += entry
            if rows is not None:
                rows[i] += total
    if columns is not None:
        for thread in range(threads):
            columns += parts[thread]


@_compiled
def _force(threads, tile, row, column, out):
    height, width = out.shape
    source = out if tile is None else tile
    for thread in numba.prange(threads):
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            weight = row[i]
            for j in range(width):
                both = weight if column is None else weight + column[j]
                out[i, j] = _store(both * _load(source[i, j]), out[i, j])


@_compiled
def _sigmoid(threads, tile, offset, scale, out, left_out):
    height, width = out.shape
    source = out if tile is None else tile
    sums = np.zeros((threads, 2))
    for thread in numba.prange(threads):
        for i in range(height * thread // threads, height * (thread + 1) // threads):
            _leave_out(source, i, left_out)
            total = each = _ZERO
            for j in range(width):
                x = _load(source[i, j]) + offset
                # At most one, whatever x is.
                small = _exp2(-abs(x))
                slope = (_ONE if x >= _ZERO else small) / (_ONE + small)
                total += _log1p(small) + max(x, _ZERO) * _LN2
                each += slope
                out[i, j] = _store(slope * scale, out[i, j])
            sums[thread, 0] += total
            sums[thread, 1] += each
    return sums
