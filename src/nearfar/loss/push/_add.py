# mypy: ignore-errors
"""Kernels that add up what tiles have left: sums of exponentials, and forces times embeddings."""

from __future__ import annotations

import triton
import triton.language as tl

LN2 = tl.constexpr(0.6931471805599453)
# Tiles whose sums are added at a time, and how many entries of each.
PARTS = tl.constexpr(32)
ENTRIES = tl.constexpr(128)


@triton.jit(do_not_specialize=["size", "parts"])
def add_logs(log, part, size, parts):
    """A program adds sums of exponentials to ENTRIES logsumexps.

    Args:
        log: (size,) natural logarithms; receives the outcome.
        part: (2, parts, size) sums, and what was taken from the logits in base 2.
        size: How many entries.
        parts: How many parts.
    """
    at = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    log += at
    top = tl.div_rn(tl.load(log, mask=at < size, other=-float("inf")), LN2)
    total = tl.where(top > -float("inf"), 1.0, 0.0)
    for first in range(0, parts, PARTS):
        number = first + tl.arange(0, PARTS)
        inside = (number < parts)[:, None] & (at < size)[None, :]
        where = part + number[:, None] * size + at[None, :]
        more = tl.load(where, mask=inside, other=0.0)
        level = tl.load(where + parts * size, mask=inside, other=0.0)
        level = tl.where(more == 0.0, -float("inf"), level)
        higher = tl.maximum(top, tl.max(level, 0))
        base = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * tl.exp2(top - base) + tl.sum(more * tl.exp2(level - base[None, :]), 0)
        top = higher
    empty = total == 0.0
    out = (tl.log2(tl.where(empty, 1.0, total)) + tl.where(empty, 0.0, top)) * LN2
    tl.store(log, tl.where(empty, -float("inf"), out), mask=at < size)


@triton.jit(do_not_specialize=["rows", "inner"])
def add_product(
    force,
    side,
    out,
    rows,
    inner,
    columns,
    force_row,
    force_inner,
    side_row,
    share,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A program adds to one tile of the gradients, along axis 1 a share of the sum.

    Args:
        force: (rows, inner), in steps of ``force_row`` and ``force_inner``, zeros up to a multiple
            of DEPTH.
        side: (inner, columns) embeddings, in steps of ``side_row`` and one, finite up to there.
        out: (shares, rows, columns) float32.
        rows: Rows of the gradients.
        inner: Terms of the sum.
        columns: Columns of the gradients.
        force_row: Elements from one row of forces to the next.
        force_inner: Elements from one term to the next.
        side_row: Elements from one row of embeddings to the next.
        share: Terms a program adds up, a multiple of DEPTH.
        PRECISION: Of products of float32.
        HEIGHT: Rows of a tile.
        WIDTH: Columns of a tile.
        DEPTH: Terms at a time.
    """
    across = (columns + WIDTH - 1) // WIDTH
    row = tl.program_id(0) // across * HEIGHT + tl.arange(0, HEIGHT)
    column = tl.program_id(0) % across * WIDTH + tl.arange(0, WIDTH)
    first = tl.program_id(1) * share
    term = first + tl.arange(0, DEPTH)
    left = force + row[:, None] * force_row + term[None, :] * force_inner
    right = side + term[:, None] * side_row + column[None, :]
    out += tl.program_id(1).to(tl.int64) * rows * columns
    out += row[:, None] * columns + column[None, :]
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    total = tl.load(out, mask=inside, other=0.0)
    for _ in range(0, tl.minimum(share, inner - first), DEPTH):
        total = tl.dot(tl.load(left), tl.load(right), total, input_precision=PRECISION)
        left += DEPTH * force_inner
        right += DEPTH * side_row
    tl.store(out, total, mask=inside)
