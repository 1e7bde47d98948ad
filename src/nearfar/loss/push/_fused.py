"""What is done to a tile between two products, in one pass, where numba is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.loss._room import ROOM
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._block import Block
from nearfar.loss.push._blocks import Blocks
from nearfar.loss.push._crowd import Diagonal
from nearfar.loss.push._passes import Passes, Where
from nearfar.loss.push._product import amd, turned
from nearfar.loss.push._tiles import Tiles


def passes_over(tiles: Tiles) -> Passes:
    """The faster ones that are at hand."""
    # What is added to rounded products is added in float32, by PyTorch.
    whole = not (tiles.rounded and tiles.crowd.bias is not None)
    if whole and tiles.loops:
        return FusedPasses(tiles)
    return Passes(tiles)


class FusedPasses(Passes):
    """The same by loops that go over a tile once.

    Args:
        tiles: Of which they are.
    """

    def __init__(self, tiles: Tiles) -> None:
        from nearfar.loss.loops import rows, sigmoids
        from nearfar.loss.loops import tiles as loops

        super().__init__(tiles)
        self.loops: Any = loops
        self.rows: Any = rows
        self.sigmoid: Any = sigmoids.sigmoid
        if tiles.loops_multiply:
            from nearfar.loss.loops import similarities

            self.similarities: Any = similarities
            self.query, self.key = loops.bare(tiles.query), loops.bare(tiles.key)
        self.left_out = _left_out(tiles.blocks, tiles.crowd.diagonals)

    def parts(self, x: Tensor | None, where: Where) -> Ahead[Any]:
        """As without loops; arrays."""
        if x is None:
            return super().parts(x, where)
        # Views of an array cost a fraction of those of a tensor.
        whole = self.loops.bare(x)
        return Ahead(self.tiles.blocks, lambda block: _part(whole, *_PLACES[where](block)))

    def exponentials(
        self, block: Block, room: Any, rows: Any = None, columns: Any = None, *, far: bool = False
    ) -> Any:
        """As without loops; never elsewhere."""
        tiles = self.tiles
        made, out = (tiles.narrow[block], self.narrow[block]) if room is None else (room, room)
        words = tiles.factor, tiles.shift, out, rows, columns, self.left_out[block.number]
        if tiles.by_loops(block):
            rows_of_both, square = (self.query, self.key, block.spot), tiles.square(block)
            # In the room of all, caches of all cores have what they read of the tile before.
            far = far or room is None
            self.similarities.exponentiate(*rows_of_both, *words, far=far, square=square)
        else:
            # Memory beyond the cache is written to once, in order, and not by the product.
            tiles.products(block)
            self.loops.exponentiate(self.narrow[block], *words, far=far)
        return made

    def forces(self, block: Block, tile: Any, row: Any, column: Any) -> Tensor:
        """As without loops; a tensor that `exponentials` has returned is taken for the room."""
        if isinstance(tile, Tensor):
            out, found = tile, tile
        elif amd():
            # Products leave what they read in the caches of all cores, each of which is asked when
            # it is written to again. What comes from memory is in none.
            out = tile
            found = torch.from_numpy(tile).view(self.tiles.query.dtype).view(block.shape)
        else:
            out, found = self.narrow[block], self.tiles.narrow[block]
        self.loops.force(tile, row, column, out, steep=self.tiles.steep)
        return found

    def weighed(self, block: Block, crowd: Any, beside: Tensor, share: Tensor) -> Tensor:
        """As without loops."""
        if self.tiles.rounded:
            return super().weighed(block, torch.from_numpy(crowd).view(-1), beside, share)
        queries = self.tiles.queries[block]
        out = ROOM.take(queries.shape, queries)
        self.rows.weigh(crowd, beside, queries, share, out)
        return turned(out, loops=True)

    def sigmoids(
        self, block: Block, offset: float, *, small: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As without loops, of small and large logits alike."""
        tiles, out = self.tiles, self.narrow[block]
        words = tiles.factor, offset, out, self.left_out[block.number]
        if tiles.by_loops(block):
            rows_of_both = self.query, self.key, block.spot
            total, each = self.similarities.sigmoid(*rows_of_both, *words)
        else:
            tiles.products(block)
            total, each = self.sigmoid(out, *words)
        return total, each, tiles.narrow[block]


# Of each method of `Block`: the first entry, how many rows, their length, from one to the next.
_PLACES: dict[Where, Callable[[Block], tuple[int, int, int, int]]] = {
    "down": lambda block: (block.rows.start, block.count, block.shape[-2], block.step),
    "across": lambda block: (block.columns.start, block.count, block.shape[-1], block.step),
    "alone": lambda block: (0, block.count * block.shape[-2], block.shape[-1], block.shape[-1]),
    "along": lambda block: (block.columns.start * block.shape[-2], *_PLACES["alone"](block)[1:]),
    "among": lambda block: (block.before, *_PLACES["alone"](block)[1:]),
}


def _part(whole: np.ndarray, first: int, count: int, length: int, step: int) -> np.ndarray:
    size = whole.itemsize
    return np.ndarray((count, length), whole.dtype, whole, first * size, (step * size, size))


@lru_cache(maxsize=4)
def _left_out(blocks: Blocks, diagonals: tuple[Diagonal, ...]) -> list[np.ndarray]:
    """Where they cross each tile, as loops take it."""
    from nearfar.loss.loops.tiles import places

    return [places(block.crossed_by(diagonals)) for block in blocks]
