"""The tiled backend: logsumexp of a similarity matrix that is never stored.

Similarities are computed tile by tile into a buffer that stays in cache, exponentiated once in
place and summed along rows and columns. The backward pass finds the exponentiated tiles kept while
they fit a memory budget (3 matrix products for both directions), or computes them again (4). One
batch against itself needs only the tiles on and above the diagonal: half of everything.

One constant is subtracted from all logits, small enough that no sum overflows. Where that lets a
sum underflow, the pass is done again with a running maximum for every row and column, which costs a
second exponential an entry (`_running`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearfar.loss.push import _running
from nearfar.loss.push._game import Game
from nearfar.loss.push._tiles import LOG2E, Tiles, view

# Exponentiated tiles are kept for the backward pass up to this many bytes.
KEEP = 512 * 2**20
# Base 2: the highest logit after the shift (a million such still add up), and the lowest sum beside
# which what was lost to underflow does not count.
_TOP = {torch.float32: 100.0, torch.float64: 900.0}
LOWEST = {torch.float32: -86.0, torch.float64: -900.0}

Logs = tuple[Tensor, Tensor | None]
# The logsumexp of each row, or column, and the gradient that comes in for it.
Side = tuple[Tensor, Tensor]


def forward(game: Game, *, keep: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    """Logsumexp along rows and columns, and the exponentiated tiles if they are kept."""
    shift = shift_of(game)
    if math.isfinite(shift):
        rows, columns, kept = _sums(game, shift, keep=keep)
        row_log = _log(rows, shift)
        column_log = None if columns is None else _log(columns, shift)
        if _lossless(game, (row_log, column_log), shift):
            return row_log, column_log, kept
    return *_running.forward(game), []


def backward(
    game: Game,
    row: Side,
    column: Side | None,
    kept: list[Tensor],
    *,
    needs_query: bool = True,
    needs_key: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of queries and keys.

    Args:
        game: As in `forward`.
        row: Logsumexp of each row and the gradient that comes in for it.
        column: The same for each column; of a triangle, columns are rows.
        kept: What `forward` kept; empty: tiles are computed again.
        needs_query: Compute the queries' gradient.
        needs_key: Compute the keys' gradient.
    """
    shift = shift_of(game)
    if game.triangle:
        column = row
    fixed = bool(kept) or _lossless(game, (row[0], None if column is None else column[0]), shift)
    tiles = Tiles(game, shift if fixed else None)
    query, key = tiles.query, tiles.key
    grad_query = torch.zeros_like(game.query) if needs_query else None
    grad_key = torch.zeros_like(game.keys) if needs_key and not game.triangle else None
    target = grad_query if game.triangle else grad_key
    force = (_Force if fixed else _running.Force)(game, row, column, shift)
    scratch = tiles.buffer()
    buffer = scratch if kept else tiles.buffer()
    for block in tiles:
        tile = kept[block.number] if kept else tiles.logits(block, buffer)
        if fixed and not kept:
            tile.exp2_()
        # In another place: a kept tile must serve another backward pass.
        weighted = force.of(tile, block.rows, block.columns, view(scratch, block))
        if grad_query is not None:
            add_product(grad_query[block.rows], weighted, key[block.columns])
        if target is not None and block.beyond.start < block.beyond.stop:
            add_product(target[block.beyond], weighted[:, block.skip :].T, query[block.rows])
    return grad_query, grad_key


def shift_of(game: Game) -> float:
    """What is taken from base-2 logits so that their exponentials can be summed."""
    scale = game.scale.item()
    if game.longest is None:
        sides = [game.query] if game.triangle else [game.query, game.keys]
        lengths = [float(side.norm(dim=1).max()) if len(side) else 0.0 for side in sides]
        bound = lengths[0] * lengths[-1] * scale
    else:
        bound = game.longest**2 * scale
    if game.crowd.bias is not None and game.crowd.bias.numel():
        bound += max(0.0, float(game.crowd.bias.max()))
    return max(0.0, bound * LOG2E - _TOP[game.query.dtype])


def _sums(game: Game, shift: float, *, keep: bool) -> tuple[Tensor, Tensor | None, list[Tensor]]:
    tiles = Tiles(game, shift)
    rows = game.query.new_zeros(len(game.query))
    columns = rows if game.triangle else game.keys.new_zeros(len(game.keys))
    size = len(game.query) * len(game.keys) * tiles.query.element_size()
    keep = keep and size <= KEEP * (2 if game.triangle else 1)
    kept: list[Tensor] = []
    buffer = None if keep else tiles.buffer()
    for block in tiles:
        tile = tiles.logits(block, buffer).exp2_()
        if keep:
            kept.append(tile)
        rows[block.rows].add_(tile.sum(1, dtype=rows.dtype))
        if game.both or (game.triangle and block.beyond.start < block.beyond.stop):
            columns[block.beyond].add_(tile[:, block.skip :].sum(0, dtype=rows.dtype))
    return rows, columns if game.both else None, kept


def _log(sums: Tensor, shift: float) -> Tensor:
    log = sums.log()
    return log + shift / LOG2E if shift else log


def _lossless(game: Game, logs: Logs, shift: float) -> bool:
    """No sum has underflowed under the shift."""
    lowest = (LOWEST[game.query.dtype] + shift) / LOG2E
    return shift == 0 or all(log is None or bool((log >= lowest).all()) for log in logs)


def add_product(to: Tensor, a: Tensor, b: Tensor) -> None:
    """``to += a @ b``, added up in the precision of ``to``."""
    if a.dtype == to.dtype:
        torch.addmm(to, a, b, out=to)
    else:
        to += a @ b


class _Force:
    """dL / dq of a tile of exponentials: for each row and column, its incoming gradient times p."""

    def __init__(self, game: Game, row: Side, column: Side | None, shift: float) -> None:
        self.row = self._weight(game, row, shift)
        self.column = None if column is None else self._weight(game, column, shift)

    @staticmethod
    def _weight(game: Game, side: Side, shift: float) -> Tensor:
        log, grad = side
        # An empty crowd has a tile of zeros: any finite weight will do.
        weight = (shift / LOG2E - log).clamp_max_(_HIGHEST[log.dtype]).exp_()
        return weight.mul_(grad).mul_(game.scale)

    def of(self, tile: Tensor, rows: slice, columns: slice, out: Tensor) -> Tensor:
        """The forces of ``tile``, in ``out``."""
        if self.column is None:
            return torch.mul(tile, self.row[rows, None].to(tile.dtype), out=out)
        weight = torch.add(self.row[rows, None], self.column[columns], out=out)
        return weight.mul_(tile)


# Natural: one over the lowest sum that counts.
_HIGHEST = {dtype: -lowest / LOG2E + 1 for dtype, lowest in LOWEST.items()}
