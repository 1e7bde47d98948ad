"""Sums of exponentials under one shift, tile by tile, and the forces that come of them."""

from __future__ import annotations

from torch import Tensor

from nearfar.loss._room import FAR, KEEP
from nearfar.loss.push._block import Block
from nearfar.loss.push._blocks import Blocks, cut
from nearfar.loss.push._fused import passes_over
from nearfar.loss.push._game import Game
from nearfar.loss.push._passes import Passes
from nearfar.loss.push._tiles import Tiles


def tiles_of(game: Game, *, kept: bool) -> Blocks:
    """Where tiles lie that are summed."""
    # PyTorch makes several rounded products slower than one after the other.
    return cut(game, several=not game.bf16, kept=kept)


def fit(game: Game) -> bool:
    """All exponentials fit the budget of tiles that are kept."""
    size = 2 if game.bf16 else game.query.element_size()
    return size * len(game.query) * len(game.keys) <= KEEP * (2 if game.triangle else 1)


class Sums:
    """Of exponentials.

    Args:
        game: Who plays.
        shift: Taken from base-2 logits before exp2.
        keep: Keep the exponentials, if they fit the budget.

    Attributes:
        tiles: Of which they are.
        passes: Over them.
        all: (N,) of rows, and, both ways, behind them (M,) of columns.
        rows: (N,).
        columns: (M,); None: not asked for.
        room: All exponentials that are kept, tile after tile; None: they are not.
    """

    def __init__(self, game: Game, shift: float, *, keep: bool) -> None:
        height, width = len(game.query), len(game.keys)
        keep = keep and fit(game)
        self.tiles = tiles = Tiles(game, shift, tiles_of(game, kept=keep))
        self.passes = passes = passes_over(tiles)
        self.all = game.query.new_zeros(height + width * game.both)
        self.rows = rows = self.all[:height]
        self.columns = self.all[height:] if game.both else None
        self.room = store = tiles.store() if keep else None
        mirror = rows if self.columns is None else self.columns
        room = passes.parts(store, "among")
        across, down = passes.parts(rows, "down"), passes.parts(mirror, "across")
        far = store is not None and store.nbytes > FAR
        for block in tiles:
            columns = down[block] if game.both or block.mirrored else None
            passes.exponentials(block, room[block], across[block], columns, far=far)


class Forces:
    """dL / ds of tiles of exponentials.

    Args:
        passes: Over the tiles.
        rows: (N,) what exponentials are multiplied by.
        columns: (M,) what else; None: nothing.
        room: All exponentials that were kept; None: they are computed again.
    """

    def __init__(
        self, passes: Passes, rows: Tensor, columns: Tensor | None, room: Tensor | None
    ) -> None:
        self.passes = passes
        self.rows, self.columns = passes.parts(rows, "down"), passes.parts(columns, "across")
        self.tiles = passes.parts(room, "among")

    def of(self, block: Block) -> Tensor:
        """As products take them."""
        tile = self.tiles[block]
        if tile is None:
            tile = self.passes.exponentials(block, None)
        return self.passes.forces(block, tile, self.rows[block], self.columns[block])
