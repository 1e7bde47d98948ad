# mypy: ignore-errors
"""Tiles of similarities, and what is made of them before they leave the processor.

For processors with AVX-512. Of bfloat16, each entry of a row is a pair of them.
"""

from __future__ import annotations

import numpy as np
from numba.core.registry import cpu_target
from torch import Tensor

from nearfar.loss.loops._entries import put, put_past, settle, take
from nearfar.loss.loops._laid import lay, lay_part, lines
from nearfar.loss.loops._line import LINE, spread, total
from nearfar.loss.loops._multiply import HEIGHT, WIDTH, multiply
from nearfar.loss.loops._numba import ZERO, bare, compiled, inner, run
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops._tile import Entries, exp2, past_cache, places, turn_what_is_there
from nearfar.loss.loops.sigmoids import added_up, nothing_yet, pair

# Of the processor that numba compiles for. Those with the second multiply pairs of bfloat16.
_FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
AVX_512, PAIRS = ("+avx512f" in _FEATURES), ("+avx512bf16" in _FEATURES)
_OUT = np.float32(-np.inf)


# Where tiles lie in a matrix: the first row and column of the first, the rows of each, and how many
# rows further down, and columns to the right, the next one lies.
Spot = tuple[int, int, int, int]


def similarities(query: Entries, key: Entries, spot: Spot, factor: float, out: Entries) -> None:
    """Products of rows, times a factor; of several tiles, one below another.

    Args:
        query: (N, d) float32; or, where there are `PAIRS`, bfloat16, d even.
        key: (M, d), of the same kind.
        spot: Which of them meet.
        factor: Of each.
        out: (s * n, m), float32 or bfloat16.
    """
    words = None, None, places([]), None, None
    _run(query, key, spot, out, np.float32(factor), None, None, *words)


def exponentiate(
    query: Entries,
    key: Entries,
    spot: Spot,
    factor: float,
    shift: float,
    out: Entries,
    rows: Entries | None,
    columns: Entries | None,
    left_out: np.ndarray,
    *,
    far: bool = False,
    square: bool = False,
) -> None:
    """As `tiles.exponentiate`, of `similarities`.

    Args as of both, and:
        square: Each tile is its own mirror image, and its diagonal is left out: half of it is
            computed.
    """
    affine = np.float32(factor), np.float32(shift), None
    # What the lower half would add to a row is what the upper half adds to a column.
    columns, half = (rows, True) if square else (columns, None)
    words = rows, columns, left_out, past_cache(out, far and not square), half
    _run(query, key, spot, out, *affine, *words)


def sigmoid(
    query: Entries,
    key: Entries,
    spot: Spot,
    factor: float,
    offset: float,
    out: Entries,
    left_out: np.ndarray,
) -> tuple[float, float]:
    """As `sigmoids.sigmoid`, of `similarities`; args as of both."""
    affine = np.float32(factor), None, np.float32(offset)
    sums = _run(query, key, spot, out, *affine, None, None, left_out, None, None)
    return tuple(sums.sum(0).tolist())


def _run(query, key, *words):
    query, key = (bare(x) if isinstance(x, Tensor) else x for x in (query, key))
    pairs = None
    if query.dtype != np.float32:
        query, key, pairs = query.view(np.float32), key.view(np.float32), True
    return run(_fill, query, key, *words, pairs)


@inner
def _leave_out(found, i, j, left_out):
    """Minus infinity where diagonals cross what begins at row i and column j."""
    for k in range(len(left_out)):
        down, across = i - left_out[k, 0], j - left_out[k, 1]
        last = min(down + HEIGHT, across + WIDTH, left_out[k, 2])
        for entry in range(max(down, across, 0), last):
            found[entry - down, entry - across] = _OUT


@inner
def _put(out, i, j, line, far, part):
    if far is None or part is not None:
        put(out, i, j, line, part)
    else:
        put_past(out, i, j, line)


@inner
def _exponentials(found, out, at, sums, parts, far, part, factor, shift, columns):
    i, j, count, number = at
    one = other = spread(ZERO)
    for r in range(count):
        first, second = take(found, r, 0, None) * factor, take(found, r, LINE, None) * factor
        if shift is not None:
            first, second = exp2(first - shift), exp2(second - shift)
        _put(out, i + r, j, first, far, part)
        _put(out, i + r, j + LINE, second, far, part)
        put(sums, r, 0, take(sums, r, 0, None) + (first + second), None)
        one, other = one + first, other + second
    if columns is not None:
        put(parts, number, j, take(parts, number, j, part) + one, part)
        put(parts, number, j + LINE, take(parts, number, j + LINE, part) + other, part)


@inner
def _sigmoids(found, out, at, totals, far, part, factor, offset):
    i, j, count, _ = at
    so_far = nothing_yet()
    for r in range(count):
        x = take(found, r, 0, None) * factor + offset
        y = take(found, r, LINE, None) * factor + offset
        one, other, so_far = pair(x, y, so_far)
        _put(out, i + r, j, one, far, part)
        _put(out, i + r, j + LINE, other, far, part)
    losses, slopes = added_up(so_far)
    totals[0] += losses
    totals[1] += slopes


@inner
def _finish(found, out, at, sums, parts, totals, far, part, factor, shift, offset, columns):
    if offset is None:
        _exponentials(found, out, at, sums, parts, far, part, factor, shift, columns)
    else:
        _sigmoids(found, out, at, totals, far, part, factor, offset)


@inner
def _fill_part(thread, threads, sides, rules, out, rows, parts, totals, words):
    query, panels, (top, _, height, step), pairs = sides
    left_out, far, half = rules
    depth, width = query.shape[1], out.shape[1]
    wide, high = (width + WIDTH - 1) // WIDTH, (height + HEIGHT - 1) // HEIGHT
    lying, found, sums = lines(depth, LINE), lines(HEIGHT, WIDTH), lines(HEIGHT, LINE)
    part, sum_ = parts[thread], totals[thread]
    # By turns: of half a square, rows further down have less.
    for block in range(thread, high * (len(out) // height), threads):
        number = block // high
        first = (block - number * high) * HEIGHT
        i, count = number * height + first, min(HEIGHT, height - first)
        lay(query, top + number * step + first, lying, 0, 0)
        sums[:] = ZERO
        for panel in range(0 if half is None else first // WIDTH, wide):
            j = panel * WIDTH
            multiply(lying, 0, panels, (number * wide + panel) * depth, depth, found, pairs)
            _leave_out(found, i, j, left_out)
            if half is not None:
                for r in range(max(0, j - first + 1), count):
                    found[r, : first + r - j] = _OUT
            at = i, j, count, number
            if j + WIDTH <= width:
                _finish(found, out, at, sums, part, sum_, far, None, *words)
            else:
                found[:, width - j :] = _OUT
                _finish(found, out, at, sums, part, sum_, far, True, *words)
        if rows is not None:
            for r in range(count):
                rows[number, first + r] += total(take(sums, r, 0, None))
    if far is not None:
        settle()


@inner
def _mirror_part(thread, threads, out):
    """What lies above the diagonal of each square, below it, too."""
    side = out.shape[1]
    each = (side + LINE - 1) // LINE
    for line in range(thread, each * (len(out) // side), threads):
        top, down = line // each * side, line % each * LINE
        for j in range(0, down, LINE):
            turn_what_is_there(out, (top + j, down), top + side, out, (top + down, j))
        for r in range(min(LINE, side - down)):
            for c in range(r):
                out[top + down + r, down + c] = out[top + down + c, down + r]


@compiled
def _fill(
    threads, query, key, spot, out, factor, shift, offset, rows, columns, left_out, far, half, pairs
):
    count, width = len(out) // spot[2], out.shape[1]
    panels = lines(count * ((width + WIDTH - 1) // WIDTH) * key.shape[1], WIDTH)
    on_threads(threads, lay_part, (key, spot, width, panels))
    parts, totals = np.zeros((threads, count, width), np.float32), np.zeros((threads, 2))
    sides, rules = (query, panels, spot, pairs), (left_out, far, half)
    words = factor, shift, offset, columns
    on_threads(threads, _fill_part, (sides, rules, out, rows, parts, totals, words))
    if half is not None:
        on_threads(threads, _mirror_part, (out,))
    if columns is not None:
        for thread in range(threads):
            columns[:] += parts[thread]
    return totals
