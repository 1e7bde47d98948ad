"""Tiles of logits, each with what is left out of the crowd."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from nearfar.loss.push._blocks import Block, Blocks
from nearfar.loss.push._crowd import Diagonal, Pairs
from nearfar.loss.push._game import Game
from nearfar.loss.push._passes import fused
from nearfar.loss.push._product import similarities, turned
from nearfar.loss.push._room import ROOM

LOG2E = math.log2(math.e)


class Stripe:
    """Some of the queries, as products want them; made when they are first asked for.

    Args:
        query: (n, D).
        factor: Of the logits.
    """

    def __init__(self, query: Tensor, factor: float) -> None:
        self.query, self.factor = query, factor

    @cached_property
    def scaled(self) -> Tensor:
        """(n, D), so that their products are logits."""
        return self.query * self.factor

    @cached_property
    def turned(self) -> Tensor:
        """(D, n)."""
        return turned(self.query)


class Tiles:
    """Logits in base 2, tile by tile: exp2 costs a third of exp on common processors.

    bfloat16 is for products and for keeping: all else is faster, too, in float32.

    Args:
        game: Who plays.
        shift: Taken from every logit before `exponentials`; None: nobody will ask for them.
        height: Rows of a tile, at most; see `Blocks`.
        width: Columns of a tile, at most; see `Blocks`.

    Attributes:
        query: (N, D) as products want them.
        key: (M, D), too.
    """

    def __init__(
        self,
        game: Game,
        shift: float | None,
        height: int | None = None,
        width: int | None = None,
    ) -> None:
        self.crowd, self.shift, self.like = game.crowd, shift or 0.0, game.query
        self.factor = game.scale.item() * LOG2E
        self.query, self.key = game.query, game.keys
        # Differences of large logits are no matter for bfloat16.
        self.rounded = game.bf16 and shift is not None
        if self.rounded:
            self.query, self.key = self.query.bfloat16(), self.key.bfloat16()
        self.blocks = Blocks(game, height, width)
        self.passes = None if shift is None else fused(game)

    def __iter__(self) -> Iterator[Block]:
        """Stripe after stripe; `logits` and `stripe` are of the one in hand."""
        rows = None
        for block in self.blocks:
            if block.rows != rows:
                rows = block.rows
                self.stripe = Stripe(self.query[rows], self.factor)
            yield block

    @cached_property
    def few(self) -> Pairs | None:
        """The pairs of equal ids, unless they are too many to list."""
        most = 8 * (len(self.query) + len(self.key))
        known = self.crowd.only_equal or self.crowd.diagonals
        return None if known else self.crowd.equal_ids(most)

    @cached_property
    def left_out(self) -> list[tuple[Tensor, ...]]:
        """For each list of pairs, their places in each tile."""
        listed = (self.few, self.crowd.left_out)
        return [self.blocks.places(pairs) for pairs in listed if pairs is not None]

    def store(self) -> Tensor:
        """Room for all tiles as products take them, to be given back."""
        return ROOM.take(self.blocks.all, self.query)

    @cached_property
    def narrow(self) -> Tensor:
        """Room for a tile as products make and take it."""
        return ROOM.take(self.blocks.largest, self.query)

    @cached_property
    def wide(self) -> Tensor:
        """Room for a tile of logits: the same, unless products are rounded."""
        return ROOM.take(self.blocks.largest, self.like) if self.rounded else self.narrow

    @cached_property
    def spare(self) -> Tensor:
        """Room for one more."""
        return ROOM.take(self.blocks.largest, self.like)

    def close(self) -> None:
        """Give the room back."""
        names = ("narrow", "spare", "wide") if self.rounded else ("narrow", "spare")
        ROOM.give(*(self.__dict__.pop(name) for name in names if name in vars(self)))

    def exponentials(
        self, block: Block, room: Tensor, rows: Tensor | None, columns: Tensor | None
    ) -> Tensor:
        """The tile of ``block`` after exp2, less the shift.

        Args:
            block: Which.
            room: Where to put it, as products take it.
            rows: Receives the tile's sums along rows; None: they are not asked for.
            columns: Along columns.

        Returns:
            The tile, in ``room`` or, before it was rounded, elsewhere.
        """
        if self.passes is not None and not (self.rounded and self.crowd.bias is not None):
            tile = self._among(self._similarities(block, room), block)
            self.passes.exponentiate(
                tile, self.shift, room, rows, columns, self._diagonals(block)
            )
            return room
        tile = self.logits(block, block.alone(self.wide) if self.rounded else room)
        if self.shift:
            tile -= self.shift
        tile = torch.exp2(tile, out=tile if self.rounded else room)
        if rows is not None:
            rows += tile.sum(1)
        if columns is not None:
            columns += tile.sum(0)
        if self.rounded:
            room.copy_(tile)
        return tile

    def forces(self, block: Block, tile: Tensor, row: Tensor, column: Tensor | None) -> Tensor:
        """A tile of exponentials times its rows' and columns' weights, as products take it.

        Args:
            block: Which.
            tile: As `exponentials` has made it; it may lie in `narrow`.
            row: (rows,).
            column: (columns,) to be added to the rows'; None: nothing.
        """
        out = block.alone(self.narrow)
        if self.passes is not None:
            self.passes.force(tile, row, column, out)
            return out
        if self.rounded and tile.dtype != row.dtype:
            tile = block.alone(self.wide).copy_(tile)
        # Elsewhere: memory beyond the cache is not written to once more.
        room = block.alone(self.spare)
        if column is None:
            torch.mul(tile, row[:, None], out=room)
        else:
            torch.add(row[:, None], column, out=room).mul_(tile)
        return self.operand(room, block)

    def operand(self, tile: Tensor, block: Block) -> Tensor:
        """A tile as products take it."""
        return block.alone(self.narrow).copy_(tile) if self.rounded else tile

    def logits(self, block: Block, room: Tensor) -> Tensor:
        """The tile of ``block``, -inf outside the crowd; in ``room``, its size, or a new tensor."""
        tile = self._similarities(block, block.alone(self.narrow) if self.rounded else room)
        tile = self._among(room.copy_(tile) if self.rounded else tile, block)
        for diagonal in self._diagonals(block):
            diagonal.of(tile).fill_(-torch.inf)
        return tile

    def _diagonals(self, block: Block) -> list[Diagonal]:
        """What the crowd leaves out of the tile along diagonals."""
        found = map(block.inside, self.crowd.diagonals)
        return [diagonal for diagonal in found if diagonal.length]

    def _similarities(self, block: Block, room: Tensor) -> Tensor:
        return similarities(self.stripe.scaled, self.key[block.columns], room)

    def _among(self, tile: Tensor, block: Block) -> Tensor:
        """The tile, -inf outside the crowd but for `_diagonals`."""
        crowd, rows, columns = self.crowd, block.rows, block.columns
        if crowd.ceiling is not None:
            tile.masked_fill_(tile > crowd.ceiling[rows, None] * self.factor, -torch.inf)
        if crowd.bias is not None:
            tile.add_(crowd.bias[rows, columns], alpha=LOG2E)
        if crowd.mask is not None:
            tile.masked_fill_(~crowd.mask[rows, columns], -torch.inf)
        told = crowd.diagonals or self.few is not None
        if crowd.row_id is not None and crowd.column_id is not None and not told:
            compare = torch.ne if crowd.only_equal else torch.eq
            out = compare(crowd.row_id[rows, None], crowd.column_id[columns])
            tile.masked_fill_(out, -torch.inf)
        for places in self.left_out:
            if len(places[block.number]):
                tile.view(-1).index_fill_(0, places[block.number], -torch.inf)
        return tile
