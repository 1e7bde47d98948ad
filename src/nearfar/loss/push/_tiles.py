"""Tiles of logits, each with what is left out of the crowd."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from nearfar.loss._room import ROOM
from nearfar.loss.loops import ready
from nearfar.loss.push._ahead import Ahead
from nearfar.loss.push._block import Block
from nearfar.loss.push._blocks import Blocks, cut
from nearfar.loss.push._crowd import Pairs
from nearfar.loss.push._game import Game
from nearfar.loss.push._product import loops_multiply, similarities, turned
from nearfar.loss.push._range import LOG2E, steep


class Tiles:
    """Logits in base 2, tile by tile: exp2 costs a third of exp on common processors.

    bfloat16 is for products and for keeping: all else is faster, too, in float32.

    Args:
        game: Who plays.
        shift: Taken by `Passes` from every logit before exp2; None: they will not be asked.
        blocks: Where they lie; None: as the game is cut.

    Attributes:
        query: (N, D) as products want them.
        key: (M, D), too.
        queries: Each tile's.
        keys: Each tile's.
        loops: They are `ready`.
        loops_multiply: They multiply queries and keys, of bfloat16 those alone of a `square`.
    """

    def __init__(self, game: Game, shift: float | None, blocks: Blocks | None = None) -> None:
        self.game, self.crowd, self.shift, self.like = game, game.crowd, shift or 0.0, game.query
        self.factor = game.scale.item() * LOG2E
        self.query, self.key = game.query, game.keys
        # Differences of large logits are no matter for bfloat16.
        self.rounded = game.bf16 and shift is not None
        if self.rounded:
            self.query, self.key = self.query.bfloat16(), self.key.bfloat16()
        self.loops = ready(self.like, len(self.query) * len(self.key))
        self.loops_multiply = self.loops and loops_multiply(self.query)
        self.blocks = cut(game) if blocks is None else blocks
        query, key = self.query, self.key
        self.queries = Ahead(self.blocks, lambda block: block.down(query))
        self.keys = Ahead(self.blocks, lambda block: block.across(key))
        self.stripe: tuple[slice, int, int] | None = None

    def __iter__(self) -> Iterator[Block]:
        """Stripe after stripe."""
        return iter(self.blocks)

    def lying(self, block: Block) -> Tensor:
        """A tile's queries, (..., D, n), for products with tiles that are taken across."""
        stripe = block.rows, block.count, block.step
        if stripe != self.stripe:
            self.stripe, self.turned = stripe, turned(self.queries[block], loops=self.loops)
        return self.turned

    @cached_property
    def steep(self) -> bool:
        """Some forces may be too small to count."""
        return steep(self.game)

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
        """Room for all tiles as products take them."""
        return ROOM.take(self.blocks.all, self.query)

    @cached_property
    def narrow_room(self) -> Tensor:
        """Room for any tile as products make and take it."""
        return ROOM.take(self.blocks.largest, self.query)

    @cached_property
    def narrow(self) -> Ahead[Tensor]:
        """The same for each tile."""
        return self._each(self.narrow_room)

    @cached_property
    def wide(self) -> Ahead[Tensor]:
        """Room for a tile of logits: the same, unless products are rounded."""
        return self._more() if self.rounded else self.narrow

    @cached_property
    def spare(self) -> Ahead[Tensor]:
        """Room for one more."""
        return self._more()

    def _more(self) -> Ahead[Tensor]:
        return self._each(ROOM.take(self.blocks.largest, self.like))

    def _each(self, room: Tensor) -> Ahead[Tensor]:
        return Ahead(self.blocks, lambda block: block.alone(room))

    def operand(self, tile: Tensor, block: Block) -> Tensor:
        """A tile as products take it."""
        return self.narrow[block].copy_(tile) if self.rounded else tile

    def logits(self, block: Block, room: Tensor) -> Tensor:
        """The tile of ``block``, -inf outside the crowd; in ``room``, its size, or elsewhere."""
        if self.rounded:
            tile = room.copy_(self._similarities(block, self.narrow[block], self.factor))
        else:
            tile = self._similarities(block, room, self.factor)
        self._among(tile, block, self.factor)
        for diagonal in block.crossed_by(self.crowd.diagonals):
            diagonal.of(tile.view(-1, tile.shape[-1])).fill_(-torch.inf)
        return tile

    def products(self, block: Block) -> Tensor:
        """`logits` as products make them, ``narrow``, but for their factor and diagonals."""
        tile = self._similarities(block, self.narrow[block], 1.0)
        self._among(tile, block, 1.0)
        return tile

    def square(self, block: Block) -> bool:
        """Whether it is its own mirror image, less the diagonal: nobody meets himself."""
        mirrored = self.game.triangle and block.rows == block.columns
        return mirrored and bool(self.crowd.diagonals)

    def by_loops(self, block: Block) -> bool:
        """Whether loops multiply it and leave out diagonals: nobody else is left out."""
        crowd = self.crowd
        if not self.loops_multiply or (self.rounded and not self.square(block)):
            return False
        others = self._compared, crowd.ceiling, crowd.bias, crowd.mask
        listed = any(len(places[block.number]) for places in self.left_out)
        return not listed and all(x is None for x in others)

    def _similarities(self, block: Block, room: Tensor, factor: float) -> Tensor:
        if self.loops_multiply and not self.rounded:
            from nearfar.loss.loops.similarities import similarities as multiply

            multiply(self.query, self.key, block.spot, factor, room)
            return room
        rows = self.queries[block], self.keys[block]
        return similarities(*rows, room, factor, new=not self.loops)

    @cached_property
    def _compared(self) -> tuple[Tensor, Tensor] | None:
        """Rows' and columns' ids, if they are compared entry by entry."""
        row, column = self.crowd.row_id, self.crowd.column_id
        if row is None or column is None or self.crowd.diagonals or self.few is not None:
            return None
        return row, column

    def _among(self, tile: Tensor, block: Block, factor: float) -> None:
        """Add the crowd's bias to similarities times a factor, and put -inf outside the crowd.

        Its diagonals are left to others.
        """
        crowd = self.crowd
        if crowd.ceiling is not None:
            ceiling = block.down(crowd.ceiling).unsqueeze(-1) * factor
            tile.masked_fill_(tile > ceiling, -torch.inf)
        if crowd.bias is not None:
            tile.add_(block.of(crowd.bias), alpha=LOG2E * factor / self.factor)
        if crowd.mask is not None:
            tile.masked_fill_(~block.of(crowd.mask), -torch.inf)
        if self._compared is not None:
            rows, columns = block.down(self._compared[0]), block.across(self._compared[1])
            compare = torch.ne if crowd.only_equal else torch.eq
            out = compare(rows.unsqueeze(-1), columns.unsqueeze(-2))
            tile.masked_fill_(out, -torch.inf)
        for places in self.left_out:
            if len(places[block.number]):
                tile.view(-1).index_fill_(0, places[block.number], -torch.inf)
