# mypy: ignore-errors
"""Kernels that work on logits: sums of their exponentials, and the forces these exert.

A launch works on one slab of the matrix, a program on one tile of the slab. Logits are in base 2.
No two programs write to the same place, so that results are the same, bit for bit, every time.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
# Base 2: the highest logit after the shift, and the lowest sum beside which what was lost to
# underflow does not count. No product of a weight and an incoming gradient underflows between them.
TOP = tl.constexpr(80.0)
LOWEST = tl.constexpr(-86.0)
# Tiles that run at the same time share rows and columns, which come out of the cache.
GROUP = tl.constexpr(8)


@triton.jit(do_not_specialize=["rows", "columns"])
def tile_sums(
    query,
    key,
    scale,
    bound,
    row_id,
    column_id,
    row_part,
    column_part,
    rows,
    columns,
    dim,
    DIAGONAL: tl.constexpr,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sums of exponentials of a tile along rows, and along columns if there is a ``column_part``.

    Args:
        query: (rows, dim) bfloat16 or float32, with readable rows as far as the last tile goes.
        key: (columns, dim), the same.
        scale: One number.
        bound: One number; no similarity is larger.
        row_id: (rows,) integers or None.
        column_id: (columns,) integers or None.
        row_part: (2, tiles across, rows) receives sums, and what was taken from the logits.
        column_part: (2, tiles down, columns) or None.
        rows: Rows of the slab.
        columns: Columns of the slab.
        dim: Elements of a row, a multiple of DEPTH.
        DIAGONAL: Rows and columns are the same; only what is not below the diagonal counts.
        PRECISION: Of products of float32.
        HEIGHT: Rows of a tile.
        WIDTH: Columns of a tile.
        DEPTH: Elements of rows multiplied at a time.
    """
    down, across = (rows + HEIGHT - 1) // HEIGHT, (columns + WIDTH - 1) // WIDTH
    tile_row, tile_column = _place(down, across)
    if DIAGONAL:  # noqa: SIM102
        if (tile_column + 1) * WIDTH <= tile_row * HEIGHT:
            return
    row = tile_row * HEIGHT + tl.arange(0, HEIGHT)
    column = tile_column * WIDTH + tl.arange(0, WIDTH)
    factor, shift = _shift(scale, bound)
    tile = _similarities(query, key, row, column, dim, PRECISION, HEIGHT, WIDTH, DEPTH) * factor
    tile = _crowd(tile, row_id, column_id, row, column, rows, columns, DIAGONAL)
    row_part += tile_column * rows + row
    exponential = tl.exp2(tile - shift)
    total = tl.sum(exponential, 1)
    lowest = tl.min(tl.where(row < rows, total, 1.0), 0)
    _store(row_part, across * rows, total, shift, row < rows)
    if column_part is not None:
        column_part += tile_row * columns + column
        if DIAGONAL:
            # Rows have what is on the diagonal already.
            exponential = tl.where(column[None, :] > row[:, None], exponential, 0.0)
        total = tl.sum(exponential, 0)
        lowest = tl.minimum(lowest, tl.min(tl.where(column < columns, total, 1.0), 0))
        _store(column_part, down * columns, total, shift, column < columns)
    if (shift > 0.0) & (lowest < tl.exp2(LOWEST)):
        # One constant does not serve all: once more, each row and column with its own.
        total, level = _own_level(tile, 1)
        _store(row_part, across * rows, total, level, row < rows)
        if column_part is not None:
            if DIAGONAL:
                tile = tl.where(column[None, :] > row[:, None], tile, -float("inf"))
            total, level = _own_level(tile, 0)
            _store(column_part, down * columns, total, level, column < columns)


@triton.jit(do_not_specialize=["rows", "columns"])
def tile_forces(
    query,
    key,
    scale,
    bound,
    row_id,
    column_id,
    row_log,
    row_grad,
    column_log,
    column_grad,
    force,
    rows,
    columns,
    dim,
    width,
    DIAGONAL: tl.constexpr,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """The loss's derivatives by the similarities of a tile.

    Args as in `tile_sums`, and:
        row_log: (rows,) logsumexps of whole rows.
        row_grad: (rows,) what comes in for them.
        column_log: (columns,) or None.
        column_grad: (columns,) or None.
        force: (., width) receives the tile, zeros beyond the last row and column; with DIAGONAL,
            also its mirror image.
        width: Elements from one row of forces to the next.
    """
    down, across = (rows + HEIGHT - 1) // HEIGHT, (columns + WIDTH - 1) // WIDTH
    tile_row, tile_column = _place(down, across)
    if DIAGONAL:  # noqa: SIM102
        if (tile_column + 1) * WIDTH <= tile_row * HEIGHT:
            return
    row = tile_row * HEIGHT + tl.arange(0, HEIGHT)
    column = tile_column * WIDTH + tl.arange(0, WIDTH)
    factor, shift = _shift(scale, bound)
    tile = _similarities(query, key, row, column, dim, PRECISION, HEIGHT, WIDTH, DEPTH) * factor
    tile = _crowd(tile, row_id, column_id, row, column, rows, columns, DIAGONAL)
    row_log, row_grad = _side(row_log, row_grad, row, rows, scale, shift)
    if column_log is None:
        out = tl.exp2(tile - row_log[:, None]) * row_grad[:, None]
    else:
        column_log, column_grad = _side(column_log, column_grad, column, columns, scale, shift)
        lowest = tl.minimum(tl.min(row_log, 0), tl.min(column_log, 0))
        if lowest < LOWEST + shift:
            out = tl.exp2(tile - row_log[:, None]) * row_grad[:, None]
            out += tl.exp2(tile - column_log[None, :]) * column_grad[None, :]
        else:
            row_grad *= tl.exp2(shift - row_log)
            column_grad *= tl.exp2(shift - column_log)
            out = tl.exp2(tile - shift) * (row_grad[:, None] + column_grad[None, :])
    out = out.to(force.dtype.element_ty)
    at = force + row[:, None] * width + column[None, :]
    if DIAGONAL:
        tl.store(at, out, mask=column[None, :] >= row[:, None])
        mirrored = force + column[:, None] * width + row[None, :]
        tl.store(mirrored, tl.trans(out), mask=column[:, None] > row[None, :])
    else:
        tl.store(at, out)


@triton.jit
def _place(down, across):
    """Which tile is this program's: down GROUP rows of tiles, column after column."""
    number = tl.program_id(0)
    first = number // (GROUP * across) * GROUP
    high = tl.minimum(down - first, GROUP)
    within = number % (GROUP * across)
    return first + within % high, within // high


@triton.jit
def _shift(scale, bound):
    """What similarities are multiplied by, and what is then taken from them."""
    factor = tl.load(scale) * LOG2E
    return factor, tl.maximum(tl.load(bound) * tl.abs(factor) - TOP, 0.0)


@triton.jit
def _similarities(
    query,
    key,
    row,
    column,
    dim,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A tile of products, (HEIGHT, WIDTH)."""
    depth = tl.arange(0, DEPTH)
    left = query + row[:, None] * dim + depth[None, :]
    right = key + column[None, :] * dim + depth[:, None]
    tile = tl.full((HEIGHT, WIDTH), 0.0, tl.float32)
    for _ in range(0, dim, DEPTH):
        tile = tl.dot(tl.load(left), tl.load(right), tile, input_precision=PRECISION)
        left += DEPTH
        right += DEPTH
    return tile


@triton.jit
def _crowd(tile, row_id, column_id, row, column, rows, columns, DIAGONAL: tl.constexpr):
    """The tile, -inf outside the crowd and the slab."""
    stands = (row < rows)[:, None] & (column < columns)[None, :]
    if DIAGONAL:
        stands = stands & (column[None, :] >= row[:, None])
    if row_id is not None:
        own = tl.load(row_id + row, mask=row < rows, other=0)
        other = tl.load(column_id + column, mask=column < columns, other=0)
        stands = stands & (own[:, None] != other[None, :])
    return tl.where(stands, tile, -float("inf"))


@triton.jit
def _own_level(tile, axis: tl.constexpr):
    """Sums of exponentials along an axis, each with its own maximum taken from the logits."""
    top = tl.max(tile, axis)
    level = tl.where(top == -float("inf"), 0.0, top)
    spread = level[:, None] if axis == 1 else level[None, :]
    return tl.sum(tl.exp2(tile - spread), axis), level


@triton.jit
def _store(part, half, total, level, inside):
    """Sums, and beside them what was taken from the logits."""
    tl.store(part, total, mask=inside)
    tl.store(part + half, level, mask=inside)


@triton.jit
def _side(log, grad, at, size, scale, shift):
    """Logsumexp in base 2 and incoming gradient times scale; where a crowd is empty, harmless."""
    log = tl.load(log + at, mask=at < size, other=-float("inf"))
    grad = tl.load(grad + at, mask=at < size, other=0.0) * tl.load(scale)
    # An infinite sum has no gradient, and says so.
    grad = tl.where(log == float("inf"), float("nan"), grad)
    empty = log == -float("inf")
    # By the number that it was multiplied by: all weights would be off alike.
    base_2 = tl.div_rn(log, LN2)
    return tl.where(empty, shift, base_2), tl.where(empty, 0.0, grad)
