"""What is done to a tile between two products: by PyTorch, or in one pass where numba is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._numbers import normal, without_faint
from nearfar.loss._room import ROOM
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._block import Block
from nearfar.loss.push._blocks import Blocks
from nearfar.loss.push._crowd import Diagonal
from nearfar.loss.push._product import amd, turned
from nearfar.loss.push._range import LOG2E
from nearfar.loss.push._tiles import Tiles

Where = Literal["down", "across", "alone", "along", "among"]


def passes_over(tiles: Tiles) -> Passes:
    """The faster ones that are at hand."""
    # What is added to rounded products is added in float32, by PyTorch.
    whole = not (tiles.rounded and tiles.crowd.bias is not None)
    if whole and tiles.loops:
        return FusedPasses(tiles)
    return Passes(tiles)


class Passes:
    """By PyTorch's operations: each goes over the tile once more; they are handed `parts`.

    Args:
        tiles: Of which they are.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def parts(self, x: Tensor | None, where: Where) -> Ahead[Any]:
        """Each tile's part of x, as passes take it; None: nothing.

        Args:
            x: What belongs to rows or to columns, or room for tiles, in one piece.
            where: A method of `Block` that tells it.
        """
        return Ahead(
            self.tiles.blocks, lambda block: None if x is None else getattr(block, where)(x)
        )

    @cached_property
    def narrow(self) -> Ahead[Any]:
        """The tiles' ``narrow`` room, as passes take it."""
        return self.parts(self.tiles.narrow_room, "alone")

    def exponentials(
        self, block: Block, room: Any, rows: Any = None, columns: Any = None, *, far: bool = False
    ) -> Any:
        """The tile of ``block`` after exp2, less the shift.

        Args:
            block: Which.
            room: Where to put it, as products take it; None: where its products are.
            rows: (..., n) receives sums of the tile's rows; None: nobody asks.
            columns: (..., m) receives sums of its columns.
            far: ``room`` will not be found in the cache; loops, in float32, go past it.

        Returns:
            The tile, in ``room`` or, before it was rounded, elsewhere.
        """
        tiles = self.tiles
        room = tiles.narrow[block] if room is None else room
        tile = tiles.logits(block, tiles.wide[block])
        if tiles.shift:
            tile -= tiles.shift
            normal(tile, 2.0)
        tile = torch.exp2(tile, out=tile if tiles.rounded else room)
        if rows is not None:
            rows += tile.sum(-1)
        if columns is not None:
            columns += tile.sum(-2)
        if tiles.rounded:
            room.copy_(tile)
        return tile

    def forces(self, block: Block, tile: Any, row: Any, column: Any) -> Tensor:
        """(row_i + column_j) tile_ij, as products take it, without what is too small to count.

        Args:
            block: Which.
            tile: (..., n, m) as `exponentials` has made it; it may lie in ``narrow`` room.
            row: (..., n).
            column: (..., m); None: zeros.
        """
        tiles = self.tiles
        if tiles.rounded and tile.dtype != row.dtype:
            tile = tiles.wide[block].copy_(tile)
        # Elsewhere: memory beyond the cache is not written to once more.
        room = tiles.spare[block]
        if column is None:
            torch.mul(tile, row.unsqueeze(-1), out=room)
        else:
            torch.add(row.unsqueeze(-1), column.unsqueeze(-2), out=room).mul_(tile)
        return tiles.operand(without_faint(room) if tiles.steep else room, block)

    def weighed(self, block: Block, crowd: Any, beside: Tensor, share: Tensor) -> Tensor:
        """The tile's queries divided by ``crowd + beside``, lying as products take them.

        Args:
            block: Which.
            crowd: (n,).
            beside: (n,).
            share: (n,) receives what they were multiplied by.
        """
        queries = self.tiles.lying(block)
        return queries * torch.reciprocal(crowd + beside, out=share).to(queries.dtype)

    def sigmoids(
        self, block: Block, offset: float, *, small: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair on its own, its logit x plus an offset.

        Args:
            block: Which.
            offset: In base 2, as the tiles' logits.
            small: Exponentials of all logits can be multiplied.

        Returns:
            The sums of log(1 + exp(x)) and of its derivative, 0-dim, and the derivatives, as
            products take them.
        """
        tile = self.tiles.logits(block, self.tiles.wide[block]).add_(offset)
        force = self.tiles.spare[block]
        if small:
            tile.exp2_()
            torch.add(tile, 1.0, out=force)
            torch.div(tile, force, out=force)
            total = tile.log1p_().sum()
        else:
            normal(tile.div_(LOG2E), math.e)
            torch.sigmoid(tile, out=force)
            total = softplus(tile, threshold=40).sum()
        each = force.sum()
        return total, each, self.tiles.operand(force if small else without_faint(force), block)


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
        # Memory beyond the cache is written to once, in order, and not by the product.
        made, tile = self._products(block)
        out, left_out = tile if room is None else room, self.left_out[block.number]
        words = self.tiles.factor, self.tiles.shift, out, rows, columns, left_out
        self.loops.exponentiate(tile, *words, far=far)
        return made if room is None else room

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
        made, tile = self._products(block)
        left_out = self.left_out[block.number]
        total, each = self.sigmoid(tile, self.tiles.factor, offset, tile, left_out)
        return total, each, made

    def _products(self, block: Block) -> tuple[Tensor, Any]:
        """The tile's products, and the same as loops take them."""
        room = self.tiles.narrow[block]
        made = self.tiles.products(block, room)
        return made, self.narrow[block] if made is room else self.loops.bare(made)


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
