"""What each tile needs, made for several tiles at once.

A large product fills the caches with its numbers. After it every small operation, a slice of a
tensor like any other, waits for its own code to come back, ten times as long as it works. Of many
in a row, only the first one waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from nearfar.loss.push._block import Block
from nearfar.loss.push._blocks import Blocks

Part = TypeVar("Part")
# Tiles at a time.
_AHEAD = 32


class Ahead(Generic[Part]):
    """A part for each tile, to be asked for in their order.

    Args:
        blocks: All tiles.
        make: Makes the part of one; it must not hold what holds this, or room comes back late.
    """

    def __init__(self, blocks: Blocks, make: Callable[[Block], Part]) -> None:
        self.blocks, self.make = blocks, make
        self.made: dict[int, Part] = {}

    def __getitem__(self, block: Block) -> Part:
        if block.number not in self.made:
            coming = self.blocks.each[block.number : block.number + _AHEAD]
            self.made = {one.number: self.make(one) for one in coming}
        return self.made[block.number]
