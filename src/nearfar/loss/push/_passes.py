"""What is done to a tile between two products: by PyTorch, or in one pass where numba is there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from nearfar.loss.loops import ready
from nearfar.loss.push._blocks import Block
from nearfar.loss.push._tiles import LOG2E, Tiles


def passes_over(tiles: Tiles) -> Passes:
    """The faster ones that are at hand."""
    # What is added to rounded products is added in float32, by PyTorch.
    whole = not (tiles.rounded and tiles.crowd.bias is not None)
    if whole and ready(tiles.like, len(tiles.query) * len(tiles.key)):
        return FusedPasses(tiles)
    return Passes(tiles)


class Passes:
    """By PyTorch's operations: each goes over the tile once more.

    Args:
        tiles: Of which they are.
    """

    def __init__(self, tiles: Tiles) -> None:
        self.tiles = tiles

    def exponentials(
        self, block: Block, room: Tensor, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> Tensor:
        """The tile of ``block`` after exp2, less the shift.

        Args:
            block: Which.
            room: Where to put it, as products take it.
            rows: (n,) receives sums of the tile's rows.
            columns: (m,) receives sums of its columns.

        Returns:
            The tile, in ``room`` or, before it was rounded, elsewhere.
        """
        tiles = self.tiles
        tile = tiles.logits(block, block.alone(tiles.wide))
        if tiles.shift:
            tile -= tiles.shift
        tile = torch.exp2(tile, out=tile if tiles.rounded else room)
        if rows is not None:
            rows += tile.sum(1)
        if columns is not None:
            columns += tile.sum(0)
        if tiles.rounded:
            room.copy_(tile)
        return tile

    def forces(self, block: Block, tile: Tensor, row: Tensor, column: Tensor | None) -> Tensor:
        """(row_i + column_j) tile_ij, as products take it.

        Args:
            block: Which.
            tile: (n, m) as `exponentials` has made it; it may lie in the tiles' ``narrow`` room.
            row: (n,).
            column: (m,); None: zeros.
        """
        tiles = self.tiles
        if tiles.rounded and tile.dtype != row.dtype:
            tile = block.alone(tiles.wide).copy_(tile)
        # Elsewhere: memory beyond the cache is not written to once more.
        room = block.alone(tiles.spare)
        if column is None:
            torch.mul(tile, row[:, None], out=room)
        else:
            torch.add(row[:, None], column, out=room).mul_(tile)
        return tiles.operand(room, block)

    def sigmoids(
        self, block: Block, offset: float, scale: Tensor, *, small: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Every pair on its own, its logit x plus an offset.

        Args:
            block: Which.
            offset: In base 2, as the tiles' logits.
            scale: 0-dim factor of the forces.
            small: Exponentials of all logits can be multiplied.

        Returns:
            The sums of log(1 + exp(x)) and of its derivative, 0-dim, and the derivatives times
            ``scale``, as products take them.
        """
        tile = self.tiles.logits(block, block.alone(self.tiles.wide)).add_(offset)
        force = block.alone(self.tiles.spare)
        if small:
            tile.exp2_()
            torch.add(tile, 1.0, out=force)
            torch.div(tile, force, out=force)
            total = tile.log1p_().sum()
        else:
            tile /= LOG2E
            torch.sigmoid(tile, out=force)
            total = softplus(tile, threshold=40).sum()
        each = force.sum()
        return total, each, self.tiles.operand(force.mul_(scale), block)


class FusedPasses(Passes):
    """The same by loops that go over a tile once.

    Args:
        tiles: Of which they are.
    """

    def __init__(self, tiles: Tiles) -> None:
        from nearfar.loss.loops import tiles as loops

        super().__init__(tiles)
        self.loops: Any = loops

    def exponentials(
        self, block: Block, room: Tensor, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> Tensor:
        """As without loops; always in ``room``."""
        # Memory beyond the cache is written to once, in order, and not by the product.
        tile = self.tiles.products(block, block.alone(self.tiles.narrow))
        left_out = self.tiles.diagonals(block)
        self.loops.exponentiate(tile, self.tiles.shift, room, rows, columns, left_out)
        return room

    def forces(self, block: Block, tile: Tensor, row: Tensor, column: Tensor | None) -> Tensor:
        """As without loops."""
        out = block.alone(self.tiles.narrow)
        self.loops.force(tile, row, column, out)
        return out

    def sigmoids(
        self, block: Block, offset: float, scale: Tensor, *, small: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As without loops, of small and large logits alike."""
        out = block.alone(self.tiles.narrow)
        tile = self.tiles.products(block, out)
        left_out = self.tiles.diagonals(block)
        total, each = self.loops.sigmoid(tile, offset, scale.item(), out, left_out)
        return total, each, out
