"""Tiles of logits, each with what is left out of the crowd."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from nearfar.loss.push._blocks import HEIGHT, Block, Blocks
from nearfar.loss.push._crowd import Pairs
from nearfar.loss.push._game import Game
from nearfar.loss.push._product import similarities
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
        return self.query.T.contiguous()


class Tiles:
    """Logits in base 2, tile by tile: exp2 costs a third of exp on common processors.

    Args:
        game: Who plays.
        shift: Taken from every logit; None: no exponential will be taken of a logit as it is.
        height: Rows of a tile, at most.
    """

    def __init__(self, game: Game, shift: float | None, height: int = HEIGHT) -> None:
        self.crowd, self.shift = game.crowd, shift or 0.0
        self.factor = game.scale.item() * LOG2E
        self.query, self.key = game.query, game.keys
        # Differences of large logits are no matter for bfloat16.
        if game.bf16 and shift is not None:
            self.query, self.key = self.query.bfloat16(), self.key.bfloat16()
        self.blocks = Blocks(game, height)

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
        return None if self.crowd.only_equal else self.crowd.equal_ids(most)

    @cached_property
    def left_out(self) -> list[tuple[Tensor, ...]]:
        """For each list of pairs, their places in each tile."""
        listed = (self.few, self.crowd.left_out)
        return [self.blocks.places(pairs) for pairs in listed if pairs is not None]

    def buffer(self) -> Tensor:
        """Room for the largest tile, never used before."""
        return self.query.new_empty(self.blocks.largest)

    def room(self) -> Tensor:
        """Room for the largest tile, to be given back."""
        return ROOM.take(self.blocks.largest, self.query)

    def kept(self, block: Block, room: Tensor) -> Tensor:
        """The tile of ``block`` after exp2, in ``room`` for sure."""
        return torch.exp2(self.logits(block, room), out=view(room, block))

    def logits(self, block: Block, room: Tensor) -> Tensor:
        """The tile of ``block``, -inf outside the crowd; in ``room`` or in a new tensor."""
        crowd, rows, columns = self.crowd, block.rows, block.columns
        tile = similarities(self.stripe.scaled, self.key[columns], view(room, block))
        if crowd.ceiling is not None:
            tile.masked_fill_(tile > crowd.ceiling[rows, None] * self.factor, -torch.inf)
        if crowd.bias is not None:
            tile.add_(crowd.bias[rows, columns], alpha=LOG2E)
        if self.shift:
            tile -= self.shift
        if crowd.mask is not None:
            tile.masked_fill_(~crowd.mask[rows, columns], -torch.inf)
        if crowd.row_id is not None and crowd.column_id is not None and self.few is None:
            compare = torch.ne if crowd.only_equal else torch.eq
            out = compare(crowd.row_id[rows, None], crowd.column_id[columns])
            tile.masked_fill_(out, -torch.inf)
        for places in self.left_out:
            if len(places[block.number]):
                tile.view(-1).index_fill_(0, places[block.number], -torch.inf)
        return tile


def view(buffer: Tensor, block: Block) -> Tensor:
    """The first elements of a buffer, in the shape of a tile."""
    height, width = block.shape
    return buffer[: height * width].view(height, width)
