"""The tiled backend: logsumexp of a similarity matrix that is never stored.

Similarities are computed tile by tile into room that is used again, exponentiated once and summed
along rows and columns (`_passes`). The backward pass finds the exponentiated tiles kept while they
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

from nearfar.loss._room import FAR, KEEP
from nearfar.loss.push import _running
from nearfar.loss.push._blocks import Block, Blocks
from nearfar.loss.push._game import Game
from nearfar.loss.push._gradients import Gradients
from nearfar.loss.push._passes import passes_over
from nearfar.loss.push._range import LOG2E, LOWEST, TOP, shift_of
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
        rows, columns, kept = _sums(game, shift, keep=keep)
        row_log = _log(rows, shift)
        column_log = None if columns is None else _log(columns, shift)
        if _lossless(game, (row_log, column_log), shift):
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
    force: _Force | _running.Force
    if fixed:
        tiles = Tiles(game, shift, _cut(game) if kept is None else kept.blocks)
        force = _Force(tiles, row, column, shift, kept)
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


def _cut(game: Game) -> Blocks:
    # PyTorch makes several rounded products slower than one after the other.
    return Blocks(game, several=not game.bf16)


def _sums(game: Game, shift: float, *, keep: bool) -> tuple[Tensor, Tensor | None, Kept | None]:
    size = len(game.query) * len(game.keys) * (2 if game.bf16 else game.query.element_size())
    keep = keep and size <= KEEP * (2 if game.triangle else 1)
    tiles = Tiles(game, shift, _cut(game))
    rows = game.query.new_zeros(len(game.query))
    columns = rows if game.triangle else game.keys.new_zeros(len(game.keys))
    passes, store = passes_over(tiles), tiles.store() if keep else None
    room = passes.narrow if store is None else passes.parts(lambda block: block.among(store))
    across = passes.parts(lambda block: block.down(rows))
    down = passes.parts(
        lambda block: block.across(columns) if game.both or block.mirrored else None
    )
    far = store is not None and store.nbytes > FAR
    for block in tiles:
        passes.exponentials(block, room[block], across[block], down[block], far=far)
    kept = None if store is None else Kept(store, tiles.blocks)
    return rows, columns if game.both else None, kept


def _log(sums: Tensor, shift: float) -> Tensor:
    log = sums.log()
    return log + shift / LOG2E if shift else log


def _lossless(game: Game, logs: Logs, shift: float) -> bool:
    """No sum has underflowed under the shift."""
    if not shift and game.crowd.bias is None:
        # No logit is further below zero than the highest may be above it.
        return True
    lowest = (LOWEST[game.query.dtype] + shift) / LOG2E
    return all(log is None or bool((log >= lowest).all()) for log in logs)


class _Force:
    """dL / ds of a tile of exponentials: for each row and column, its incoming gradient times p."""

    def __init__(
        self,
        tiles: Tiles,
        row: Side,
        column: Side | None,
        shift: float,
        kept: Kept | None,
    ) -> None:
        self.passes = passes_over(tiles)
        rows = self._weight(row, shift)
        columns = None if column is None else self._weight(column, shift)
        self.rows = self.passes.parts(lambda block: block.down(rows))
        self.columns = self.passes.parts(
            lambda block: None if columns is None else block.across(columns)
        )
        room = None if kept is None else kept.room
        self.tiles = self.passes.parts(lambda block: None if room is None else block.among(room))

    @staticmethod
    def _weight(side: Side, shift: float) -> Tensor:
        log, grad = side
        # An empty crowd has a tile of zeros: any finite weight will do.
        weight = (shift / LOG2E - log).clamp_max_(_HIGHEST[log.dtype]).exp_()
        return weight.mul_(grad)

    def of(self, block: Block) -> Tensor:
        """The forces of a tile, as products take them; it is computed again if it was not kept."""
        tile = self.tiles[block]
        if tile is None:
            tile = self.passes.exponentials(block, self.passes.narrow[block])
        return self.passes.forces(block, tile, self.rows[block], self.columns[block])


# Natural: one over the lowest sum that counts, under a shift or without one.
_HIGHEST = {dtype: max(top, -LOWEST[dtype]) / LOG2E + 1 for dtype, top in TOP.items()}
