# mypy: ignore-errors
"""Rows of a matrix as columns."""

from __future__ import annotations

from torch import Tensor

from nearfar.loss.loops._line import LINE
from nearfar.loss.loops._numba import compiled, inner, run
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops._tile import turn_what_is_there


def transpose(rows: Tensor, out: Tensor) -> None:
    """Rows as columns, of one matrix or of several that lie in one.

    Args:
        rows: (..., n, d) of float32 or bfloat16.
        out: (..., d, n) of the same kind.
    """
    apart = 0
    if rows.ndim > 2:
        count, height, width = rows.shape
        apart = rows.stride(0) // width
        rows = rows.as_strided(((count - 1) * apart + height, width), (width, 1))
    run(_transpose, rows, out, apart)


@inner
def _transpose_part(thread, threads, rows, out, apart):
    height, width = out.shape[1], rows.shape[1]
    lines = -(-height // LINE)
    first = LINE * (lines * thread // threads)
    last = min(LINE * (lines * (thread + 1) // threads), height)
    for number in range(len(out) // width):
        above, beneath = number * apart, number * width
        for left in range(0, width, LINE):
            for top in range(first, last, LINE):
                here = above + top, left
                turn_what_is_there(rows, here, above + last, out, (beneath + left, top))


@compiled
def _transpose(threads, *words):
    on_threads(threads, _transpose_part, words)
