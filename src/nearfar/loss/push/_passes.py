"""What is done to a tile between two products: by PyTorch, or in one pass where numba is there."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss._numbers import normal, without_faint
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._block import Block
from nearfar.loss.push._range import LOG2E
from nearfar.loss.push._tiles import Tiles

Where = Literal["down", "across", "alone", "along", "among"]


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
