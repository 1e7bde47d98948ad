"""Gradients of queries and keys, added up from the forces in one tile after the other."""

from __future__ import annotations

from torch import Tensor

from nearfar.loss._numbers import SMALL
from nearfar.loss._room import ROOM
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._block import Block
from nearfar.loss.push._game import Game
from nearfar.loss.push._product import add_product, add_turned
from nearfar.loss.push._tiles import Tiles

# Elements between two lines of keys' gradients: 64 bytes of float32, a line of the cache.
_APART = 16


class Gradients:
    """What a game's forces come to.

    Args:
        game: Who plays.
        tiles: Whose forces they are.
        factor: Of all of them.
        needs_query: The queries' gradient is wanted.
        needs_key: The keys' is.

    Attributes:
        query: (N, D), rows of which may be scaled once all their tiles have come; None: not wanted.
    """

    def __init__(
        self,
        game: Game,
        tiles: Tiles,
        *,
        factor: float = 1.0,
        needs_query: bool = True,
        needs_key: bool = True,
    ) -> None:
        self.tiles, self.triangle = tiles, game.triangle
        small = abs(factor) < SMALL
        self.factor, self.last = (1.0, factor) if small else (factor, 1.0)
        self.query = ROOM.take(game.query.shape, game.query) if needs_query else None
        # The keys' gradient lies on its side; of a triangle, it is the queries', too.
        self.turned: Tensor | None = None
        self.key: Tensor | None = None
        if needs_query if game.triangle else needs_key:
            rows, columns = game.keys.shape
            # Lines of memory that are a power of two apart want the same places in the cache:
            # turning them back took three times as long.
            self.turned = ROOM.take((columns, rows + _APART), game.keys)[:, :rows]
            if not game.triangle:
                self.key = ROOM.take(game.keys.shape, game.keys)
        query, turned = self.query, self.turned
        if not tiles.blocks.complete:
            for gradient in (query, turned):
                if gradient is not None:
                    gradient.zero_()
        elif turned is not None and tiles.blocks.uncovered:
            turned[:, : tiles.blocks.uncovered].zero_()
        if query is not None:
            self.rows = Ahead(tiles.blocks, lambda block: block.down(query))
        if turned is not None:
            self.columns = Ahead(tiles.blocks, lambda block: block.across(turned.T).mT)

    def add(self, block: Block, force: Tensor, queries: Tensor | None = None) -> None:
        """Add a tile's.

        Args:
            block: Which.
            force: (..., n, m), as products take it.
            queries: (..., D, n) in place of the tiles' ``lying``.
        """
        tiles, blocks = self.tiles, self.tiles.blocks
        if self.query is not None:
            # Of a triangle, a row's first tile is the one on the diagonal.
            least = block.rows.start if self.triangle else 0
            first = blocks.complete and block.columns.start == least
            add_product(self.rows[block], force, tiles.keys[block], self.factor, first=first)
        if self.turned is not None and (block.mirrored or not self.triangle):
            top = block.rows.start == 0 and block.columns.start >= blocks.uncovered
            first = blocks.complete and top
            lying = tiles.lying(block) if queries is None else queries
            add_turned(self.columns[block], lying, force, self.factor, first=first)

    def found(self) -> tuple[Tensor | None, Tensor | None]:
        """The queries' and the keys'; of a triangle, the first is both."""
        query, key, lying = self.late()
        if lying is not None:
            upright(lying, query, key)
        return query, key

    def late(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As `found`, but for what is still to be put `upright`, lying on its side."""
        if self.last != 1:
            for gradient in (self.query, self.turned):
                if gradient is not None:
                    gradient *= self.last
        return self.query, self.key, self.turned


def upright(lying: Tensor, query: Tensor | None, key: Tensor | None) -> None:
    """Put the keys' gradient where it belongs; of a triangle, add it to the queries'."""
    if key is not None:
        key.copy_(lying.T)
    elif query is not None:
        query += lying.T
