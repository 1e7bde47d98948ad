"""How a matrix that is never stored is cut into tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.loss.loops import ready
from nearfar.loss.push._block import Block
from nearfar.loss.push._crowd import Pairs
from nearfar.loss.push._game import Game
from nearfar.loss.push._panels import Panel, needed, rectangle, triangle
from nearfar.loss.push._product import one_dnn_takes

# Rows and columns of a tile of float32, 16 MiB; as many bytes in bfloat16 have twice the columns.
# Products of smaller ones are slower, by more than what stays in a cache nearer by is faster. It
# has half the rows where there must be room for two, without loops, and where gradients come in new
# memory and there is none to keep all, as what is freed leaves holes.
HEIGHT, WIDTH = 4096, 1024
# On the diagonal of a triangle lie so many squares that are kept whole, or more: of sides from here
# to there, where several are taken at once.
SQUARES, LOWEST, HIGHEST = 8, 128, 512
# Each begins where a line of the cache does: so many entries of bfloat16.
_LINE = 32
# Rows of one that is taken alone, and of a tile of which only what lies near the diagonal counts.
ALONE = 1024


class _Shape(NamedTuple):
    """What tiles are cut by.

    Attributes:
        rows: Of the matrix.
        columns: Of the matrix.
        height: Rows of a tile, at most.
        width: Columns of a tile, at most.
        side: Of a square on the diagonal of a triangle; None: it is none.
        fewest: So many equal tiles along the diagonal, or more, are taken at once.
        line: Before each tile lies a multiple of so many entries.
    """

    rows: int
    columns: int
    height: int
    width: int
    side: int | None
    fewest: int
    line: int


def cut(
    game: Game,
    height: int | None = None,
    width: int | None = None,
    *,
    several: bool = False,
    kept: bool = True,
) -> Blocks:
    """The tiles of a game.

    Args:
        game: Who plays.
        height: Rows of a tile, at most; None: HEIGHT.
        width: Columns of a tile, at most; None: WIDTH, in bfloat16 twice as many.
        several: Equal tiles along a triangle's diagonal may be taken at once.
        kept: There is memory for all tiles.
    """
    rows, columns = len(game.query), len(game.keys)
    one = ready(game.query, rows * columns)
    most = HEIGHT
    if not one or (by_one_dnn(game) and not kept):
        most = -(-HEIGHT // 2)
    height = height or (min(most, ALONE) if game.crowd.only_equal else most)
    width = width or WIDTH * (2 if game.bf16 else 1)
    side, fewest = None, rows + 1
    if game.triangle:
        side = min(HIGHEST if several else ALONE, height, max(LOWEST, rows // SQUARES))
        # Each of the processor's threads has a product of its own to make, or all share each.
        fewest = torch.get_num_threads() if several else fewest
    shape = _Shape(rows, columns, height, width, side, fewest, _LINE)
    return Blocks(shape, game) if game.crowd.only_equal else _known(shape)


@lru_cache(maxsize=4)
def _known(shape: _Shape) -> Blocks:
    # Batch after batch has the same.
    return Blocks(shape)


def by_one_dnn(game: Game) -> bool:
    """Whether its tiles are multiplied by oneDNN, which is slow with wide ones, in new memory."""
    return not game.bf16 and one_dnn_takes(game.query)


class Blocks:
    """Tiles, panel after panel; of a triangle, those on and above the diagonal.

    Args:
        shape: What they are cut by.
        game: In which some are not needed; None: all are.

    Attributes:
        each: The tiles, in order.
        largest: Entries of the largest tile.
        all: Entries of room for all tiles.
        complete: Nothing is left out because nobody is there.
        uncovered: Of a triangle: above the diagonal, columns before this one are not first met by
            a tile of their own, but by several at once, or by none.
    """

    def __init__(self, shape: _Shape, game: Game | None = None) -> None:
        rows, columns, height, width, side, self.fewest, self.line = shape
        # So many rows and columns, counted from the first, lie in one panel at most.
        cell = height, max(1, columns)
        if side is not None:
            cell = side, side
            panels = triangle(-(-rows // side), side, height)
        else:
            panels = rectangle(Panel(0, rows, 0, columns), height)
        inside = [
            replace(one, bottom=min(one.bottom, rows), right=min(one.right, columns))
            for one in panels
            if one.top < rows
        ]
        self.panels = inside if game is None else needed(inside, game)
        self.matrix, self.cell, self.width = (rows, columns), cell, width
        # Entries of several tiles, at most.
        self.most = height * width
        self.each: list[Block] = []
        # Of each panel, the number of its first tile, and the entries before it of several.
        self.numbers: list[tuple[int, int]] = []
        for stack in self._stacks():
            self._cut(stack)
        self.all = self.each[-1].end if self.each else 0
        looked_at = sum(one.entries for one in self.panels)
        self.complete = looked_at == sum(one.entries for one in inside) > 0
        self.largest = max((math.prod(block.shape) for block in self.each), default=0)
        late = (one for one in self.each if one.count > 1 or not one.mirrored)
        ends = (one.columns.stop for one in late if one.rows.start == 0 and side is not None)
        self.uncovered = max(ends, default=0)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.each)

    def _stacks(self) -> Iterator[list[Panel]]:
        """Neighbours that are alike and evenly apart, enough of them and not too many, or one."""
        stack: list[Panel] = []
        for panel in [*self.panels, None]:
            if stack and not (panel and self._alike(stack, panel)):
                if len(stack) >= self.fewest:
                    yield stack
                else:
                    yield from ([one] for one in stack)
                stack = []
            if panel:
                stack.append(panel)

    def _alike(self, stack: list[Panel], panel: Panel) -> bool:
        last = stack[-1]
        down, right = panel.top - last.top, panel.left - last.left
        return (
            panel.shape == last.shape
            and panel.shape[1] <= self.width
            and panel.mirrored == last.mirrored
            and down == right > 0
            and (len(stack) == 1 or down == last.top - stack[-2].top)
            and (len(stack) + 1) * panel.entries <= self.most
        )

    def _cut(self, stack: list[Panel]) -> None:
        """Add the tiles of a panel, or the one of several."""
        one, count = stack[0], len(stack)
        self.numbers += [(len(self.each), number * one.entries) for number in range(count)]
        step = stack[1].top - one.top if count > 1 else 0
        for left in range(one.left, one.right, self.width):
            last = self.each[-1] if self.each else None
            before = -(-last.end // self.line) * self.line if last else 0
            rows, columns = (one.top, one.bottom), (left, min(left + self.width, one.right))
            block = Block(
                len(self.each), before, slice(*rows), slice(*columns), one.mirrored, count, step
            )
            self.each.append(block)

    def places(self, pairs: Pairs) -> tuple[Tensor, ...]:
        """For each tile, the places in it, counted row by row, of the pairs that lie in it."""
        row, column = pairs
        rows, columns = self.matrix
        if self.largest == rows * columns:
            return (row * columns + column,)
        if not self.panels:
            return ()
        height, breadth = self.cell
        panel_at = torch.full((-(-rows // height), -(-columns // breadth)), -1)
        for number, one in enumerate(self.panels):
            down = slice(one.top // height, -(-one.bottom // height))
            panel_at[down, one.left // breadth : -(-one.right // breadth)] = number
        sides = [
            (one.top, one.left, one.right, *numbers)
            for one, numbers in zip(self.panels, self.numbers, strict=True)
        ]
        known = torch.tensor(sides, device=row.device).view(-1, 5).T
        panel = panel_at.to(row.device)[
            row.div(height, rounding_mode="floor"), column.div(breadth, rounding_mode="floor")
        ]
        inside = (panel >= 0) & (column >= known[1][panel]) & (column < known[2][panel])
        row, column, panel = row[inside], column[inside], panel[inside]
        top, first, last, number, before = known[:, panel]
        across = (column - first).div(self.width, rounding_mode="floor")
        left = first + across * self.width
        place = before + (row - top) * (last - left).clamp_max(self.width) + column - left
        tile = number + across
        order = tile.argsort(stable=True)
        sizes = tile.bincount(minlength=len(self.each)).tolist()
        return torch.split(place[order], sizes)
