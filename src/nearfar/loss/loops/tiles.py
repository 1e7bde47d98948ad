# mypy: ignore-errors
"""Over a tile of a matrix. Entries are float32, or bfloat16 as the 16 bits that they are."""

from __future__ import annotations

import numpy as np
import torch

from nearfar.loss._numbers import FAINT
from nearfar.loss.loops._entries import put, put_past, settle, take
from nearfar.loss.loops._line import LINE, below, size, spread, total
from nearfar.loss.loops._numba import ZERO, bare, compiled, inner, run
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops._tile import Entries, apart, exp2, leave_out_of, past_cache, places

__all__ = ["bare", "exponentiate", "force", "places"]

_FAINT = np.float32(FAINT[torch.float32])
# Rows that are added to the sums of columns at once.
_ROWS = 4


def exponentiate(
    tile: Entries,
    factor: float,
    shift: float,
    out: Entries,
    rows: Entries | None,
    columns: Entries | None,
    left_out: np.ndarray,
    *,
    far: bool = False,
) -> None:
    """exp2(factor * tile - shift) in ``out``, which may be the tile; of several, one below another.

    Args:
        tile: (s * n, m).
        factor: Of each.
        shift: Taken from each.
        out: (s * n, m).
        rows: (s, n), or (n,) of one tile, receives sums of rows; None: nobody asks.
        columns: (s, m), or (m,), receives sums of columns; not without those of rows.
        left_out: `places` of diagonals where zero is to come out.
        far: ``out``, all in one piece, is not to be brought into the cache.
    """
    affine = np.float32(factor), np.float32(shift)
    words = affine, out, rows, columns, left_out, past_cache(out, far)
    run(_exponentiate, apart(tile, out), *words)


def force(
    tile: Entries, row: Entries, column: Entries | None, out: Entries, *, steep: bool = False
) -> None:
    """(row_i + column_j) tile_ij in ``out``, which may be the tile; of several as above.

    Args:
        tile: (s * n, m).
        row: (s, n), or (n,) of one tile.
        column: (s, m), or (m,); None: zeros.
        out: (s * n, m).
        steep: Make what is too small to count zero.
    """
    run(_force, apart(tile, out), row, column, out, _FAINT if steep else None)


@inner
def _exponential(source, affine, out, i, j, far, part):
    factor, shift = affine
    made = exp2(take(source, i, j, part) * factor - shift)
    if far is None:
        put(out, i, j, made, part)
    else:
        put_past(out, i, j, made)
    return made


@inner
def _row(source, affine, out, i, start, rows, columns, each, part):
    number = i // each
    sums = spread(ZERO)
    for j in range(start, out.shape[1], LINE):
        made = _exponential(source, affine, out, i, j, None, True)
        sums += made
        if columns is not None:
            put(part, number, j, take(part, number, j, True) + made, True)
    if rows is not None:
        rows[number, i % each] += total(sums)


@inner
def _four_rows(source, affine, out, i, whole, far, rows, columns, each, part):
    number = i // each
    a = b = c = d = spread(ZERO)
    for j in range(0, whole, LINE):
        one = _exponential(source, affine, out, i, j, far, None)
        two = _exponential(source, affine, out, i + 1, j, far, None)
        three = _exponential(source, affine, out, i + 2, j, far, None)
        four = _exponential(source, affine, out, i + 3, j, far, None)
        a, b, c, d = a + one, b + two, c + three, d + four
        if columns is not None:
            all_ = (one + two) + (three + four)
            put(part, number, j, take(part, number, j, None) + all_, None)
    if rows is not None:
        first = i % each
        rows[number, first] += total(a)
        rows[number, first + 1] += total(b)
        rows[number, first + 2] += total(c)
        rows[number, first + 3] += total(d)


@inner
def _exponentiate_part(thread, threads, tile, affine, out, rows, columns, left_out, far, parts):
    height, width = out.shape
    each = height if rows is None else rows.shape[1]
    source = out if tile is None else tile
    part = parts[thread]
    top, last = height * thread // threads, height * (thread + 1) // threads
    while top < last:
        count = min(_ROWS, last - top, each - top % each)
        for i in range(top, top + count):
            leave_out_of(source, i, left_out)
        start = 0
        if count == _ROWS:
            start = width - width % LINE
            _four_rows(source, affine, out, top, start, far, rows, columns, each, part)
        if start < width:
            for i in range(top, top + count):
                _row(source, affine, out, i, start, rows, columns, each, part)
        top += count
    if far is not None:
        settle()


@compiled
def _exponentiate(threads, tile, affine, out, rows, columns, left_out, far):
    height, width = out.shape
    each = height if rows is None else rows.shape[1]
    parts = np.zeros((threads, height // max(each, 1), width), np.float32)
    on_threads(
        threads, _exponentiate_part, (tile, affine, out, rows, columns, left_out, far, parts)
    )
    if columns is not None:
        for thread in range(threads):
            # By its entries: a name that is bound anew is not seen to be None by older numba.
            columns[:] += parts[thread]


@inner
def _forces(source, weight, column, out, i, j, number, faint, part):
    both = spread(weight) if column is None else take(column, number, j, part) + weight
    entry = both * take(source, i, j, part)
    if faint is not None:
        entry = below(size(entry), _FAINT, ZERO, entry)
    put(out, i, j, entry, part)


@inner
def _force_part(thread, threads, tile, row, column, out, faint):
    height, width = out.shape
    each = row.shape[1]
    whole = width - width % LINE
    source = out if tile is None else tile
    for i in range(height * thread // threads, height * (thread + 1) // threads):
        number = i // each
        weight = row[number, i - number * each]
        for j in range(0, whole, LINE):
            _forces(source, weight, column, out, i, j, number, faint, None)
        if whole < width:
            _forces(source, weight, column, out, i, whole, number, faint, True)


@compiled
def _force(threads, *words):
    on_threads(threads, _force_part, words)
