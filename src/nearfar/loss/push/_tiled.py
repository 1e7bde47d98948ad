"""The tiled backend: logsumexp of a similarity matrix that is never stored.

Similarities are computed tile by tile into room that is used again, exponentiated once and summed
along rows and columns (`_sums`). The backward pass finds the exponentiated tiles kept while they
fit a memory budget (3 matrix products for both directions), or computes them again (4).
One batch against itself needs only the tiles on and above the diagonal: half of everything.

One constant is subtracted from all logits, small enough that no sum overflows. Where that lets a
sum underflow, the pass is done again with a running maximum for every row and column, which costs a
second exponential an entry (`_running`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from nearfar.loss.push import _running
from nearfar.loss.push._blocks import Blocks
from nearfar.loss.push._fused import passes_over
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._range import LOG2E, LOWEST, TOP, logarithm, shift_of
from nearfar.loss.push._sums import Forces, Sums, tiles_of
from nearfar.loss.push._tiles import Tiles

Logs = tuple[Tensor, Tensor | None]
# The logsumexp of each row, or column, and the gradient that comes in for it.
Side = tuple[Tensor, Tensor]


class Kept(NamedTuple):
    """Exponentiated tiles, and how they lie.

    Attributes:
        room: All tiles, one after the other.
        blocks: Where each lies.
    """

    room: Tensor
    blocks: Blocks


def forward(game: Game, *, keep: bool) -> tuple[Tensor, Tensor | None, Kept | None]:
    """Logsumexp along rows and columns, and the exponentiated tiles if they are kept."""
    shift = shift_of(game)
    if math.isfinite(shift):
        sums = Sums(game, shift, keep=keep)
        row_log = logarithm(sums.rows, shift)
        column_log = None if sums.columns is None else logarithm(sums.columns, shift)
        if _lossless(game, (row_log, column_log), shift):
            kept = None if sums.room is None else Kept(sums.room, sums.tiles.blocks)
            return row_log, column_log, kept
    return *_running.forward(game), None


def backward(
    game: Game,
    row: Side,
    column: Side | None,
    kept: Kept | None,
    factor: Tensor,
    *,
    needs_query: bool = True,
    needs_key: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of queries and keys.

    Args:
        game: As in `forward`.
        row: Logsumexp of each row and the gradient that comes in for it.
        column: The same for each column; of a triangle, columns are rows.
        kept: What `forward` kept; None: tiles are computed again.
        factor: 0-dim, of what comes out.
        needs_query: Compute the queries' gradient.
        needs_key: Compute the keys' gradient.
    """
    shift = shift_of(game)
    if game.triangle:
        column = row
    fixed = kept is not None or _lossless(
        game, (row[0], None if column is None else column[0]), shift
    )
    force: Forces | _running.Force
    if fixed:
        tiles = Tiles(game, shift, tiles_of(game, kept=False) if kept is None else kept.blocks)
        force = Forces(
            passes_over(tiles),
            _weight(row, shift),
            None if column is None else _weight(column, shift),
            None if kept is None else kept.room,
        )
    else:
        tiles = Tiles(game, None)
        force = _running.Force(tiles, row, column)
    gradients = Gradients(
        game,
        tiles,
        factor=factor.item() * game.scale.item(),
        needs_query=needs_query,
        needs_key=needs_key,
    )
    for block in tiles:
        gradients.add(block, force.of(block))
    return gradients.found()


def _lossless(game: Game, logs: Logs, shift: float) -> bool:
    """No sum has underflowed under the shift."""
    if not shift and game.crowd.bias is None:
        # No logit is further below zero than the highest may be above it.
        return True
    lowest = (LOWEST[game.query.dtype] + shift) / LOG2E
    return all(log is None or bool((log >= lowest).all()) for log in logs)


def _weight(side: Side, shift: float) -> Tensor:
    """What exponentials are multiplied by to be forces."""
    log, grad = side
    # An empty crowd has a tile of zeros: any finite weight will do.
    weight = (shift / LOG2E - log).clamp_max_(_HIGHEST[log.dtype]).exp_()
    return weight.mul_(grad)


# Natural: one over the lowest sum that counts, under a shift or without one.
_HIGHEST = {dtype: max(top, -LOWEST[dtype]) / LOG2E + 1 for dtype, top in TOP.items()}
