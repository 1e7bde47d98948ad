"""How a matrix that is never stored is cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearfar.loss.push._crowd import Diagonal, Pairs
from nearfar.loss.push._game import Game

# Rows and columns of a tile: 4 MiB of float32, which stay in cache.
HEIGHT, WIDTH = 1024, 1024
# Of a tile that is kept: it leaves the cache anyway, and products of larger ones are faster.
KEPT_HEIGHT, KEPT_WIDTH = 4096, 1024
# On the diagonal of a triangle lie so many squares that are computed whole, no smaller than this.
SQUARES, LOWEST = 8, 128


@dataclass
class Panel:
    """Some rows of the matrix, from one column to another, to be cut into tiles side by side.

    Attributes:
        mirrored: It stands for its transpose, too, on the other side of a triangle's diagonal.
    """

    top: int
    bottom: int
    left: int
    right: int
    mirrored: bool = False

    def entries(self, width: int | None = None) -> int:
        """Of all of it; or of its largest tile, of at most so many columns."""
        columns = self.right - self.left
        return (self.bottom - self.top) * (columns if width is None else min(columns, width))


@dataclass
class Block:
    """Where a tile lies: in the matrix and, ``before`` entries after the first, among all tiles."""

    number: int
    before: int
    rows: slice
    columns: slice
    mirrored: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def alone(self, room: Tensor) -> Tensor:
        """The tile in room for one at a time."""
        height, width = self.shape
        return room[: height * width].view(height, width)

    def among(self, room: Tensor) -> Tensor:
        """The tile in room for all of them."""
        return self.alone(room[self.before :])

    def inside(self, diagonal: Diagonal) -> Diagonal:
        """What lies in the tile of a diagonal of the matrix, counted from the tile's corner."""
        right = diagonal.column - diagonal.row
        first = max(self.rows.start, diagonal.row, self.columns.start - right)
        last = min(self.rows.stop, diagonal.row + diagonal.length, self.columns.stop - right)
        row, column = first - self.rows.start, first + right - self.columns.start
        return Diagonal(row, column, max(0, last - first))


class Blocks:
    """Tiles, panel after panel; of a triangle, those on and above the diagonal.

    Args:
        game: Who plays.
        height: Rows of a tile, at most; None: HEIGHT.
        width: Columns of a tile, at most; None: WIDTH.

    Attributes:
        each: The tiles, in order.
        largest: Entries of the largest tile.
        all: Entries of all tiles.
        complete: Nothing is left out because nobody is there.
    """

    def __init__(self, game: Game, height: int | None = None, width: int | None = None) -> None:
        rows, columns = len(game.query), len(game.keys)
        height, width = height or HEIGHT, width or WIDTH
        # So many rows and columns, counted from the first, lie in one panel at most.
        cell = height, max(1, columns)
        if game.triangle:
            side = min(height, HEIGHT, max(LOWEST, rows // SQUARES))
            cell = side, side
            panels = _triangle(0, -(-rows // side), side, height)
        else:
            panels = _rectangle(Panel(0, rows, 0, columns), height)
        inside = [
            replace(one, bottom=min(one.bottom, rows), right=min(one.right, columns))
            for one in panels
            if one.top < rows
        ]
        self.panels = _needed(inside, game)
        self.matrix, self.cell, self.width = (rows, columns), cell, width
        self.each = list(self._cut())
        self.all = sum(one.entries() for one in self.panels)
        self.complete = self.all == sum(one.entries() for one in inside) > 0
        self.largest = max((one.entries(width) for one in self.panels), default=0)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.each)

    def _cut(self) -> Iterator[Block]:
        number = before = 0
        for one in self.panels:
            for left in range(one.left, one.right, self.width):
                right = min(left + self.width, one.right)
                yield Block(
                    number, before, slice(one.top, one.bottom), slice(left, right), one.mirrored
                )
                number += 1
                before += (one.bottom - one.top) * (right - left)

    def places(self, pairs: Pairs) -> tuple[Tensor, ...]:
        """For each tile, the places in it, counted row by row, of the pairs that lie in it."""
        row, column = pairs
        rows, columns = self.matrix
        if self.largest == rows * columns:
            return (row * columns + column,)
        if not self.panels:
            return ()
        (height, breadth), width = self.cell, self.width
        panel_at = torch.full((-(-rows // height), -(-columns // breadth)), -1)
        for number, one in enumerate(self.panels):
            down = slice(one.top // height, -(-one.bottom // height))
            panel_at[down, one.left // breadth : -(-one.right // breadth)] = number
        sides = [(one.top, one.left, one.right) for one in self.panels]
        top, first, last = torch.tensor(sides, device=row.device).view(-1, 3).T
        panel = panel_at.to(row.device)[
            row.div(height, rounding_mode="floor"), column.div(breadth, rounding_mode="floor")
        ]
        inside = (panel >= 0) & (column >= first[panel]) & (column < last[panel])
        row, column, panel = row[inside], column[inside], panel[inside]
        across = (column - first[panel]).div(width, rounding_mode="floor")
        left = first[panel] + across * width
        place = (row - top[panel]) * (last[panel] - left).clamp_max(width) + column - left
        each = (last - first + width - 1).div(width, rounding_mode="floor")
        tile = (each.cumsum(0) - each)[panel] + across
        order = tile.argsort(stable=True)
        sizes = tile.bincount(minlength=int(each.sum())).tolist()
        return torch.split(place[order], sizes)


def _rectangle(whole: Panel, height: int) -> Iterator[Panel]:
    """Stripes of so many rows."""
    for top in range(whole.top, whole.bottom, height):
        yield replace(whole, top=top, bottom=min(top + height, whole.bottom))


def _triangle(first: int, last: int, side: int, height: int) -> Iterator[Panel]:
    """Two triangles of half the size, and the square between them: products like large squares.

    Args:
        first: Of the cells on the diagonal.
        last: The one after the last.
        side: Of a cell.
        height: Rows of a panel, at most.
    """
    middle = (first + last + 1) // 2
    if middle == last:
        yield Panel(first * side, last * side, first * side, last * side)
        return
    yield from _triangle(first, middle, side, height)
    square = Panel(first * side, middle * side, middle * side, last * side, mirrored=True)
    yield from _rectangle(square, height // side * side)
    yield from _triangle(middle, last, side, height)


def _needed(panels: list[Panel], game: Game) -> list[Panel]:
    """The columns in which there is somebody at all."""
    row, column = game.crowd.row_id, game.crowd.column_id
    if game.crowd.only_equal and row is not None and column is not None and panels:
        tops = row[[one.top for one in panels]]
        ends = row[[one.bottom - 1 for one in panels]]
        firsts = torch.searchsorted(column, tops).tolist()
        lasts = torch.searchsorted(column, ends, right=True).tolist()
        panels = [
            replace(one, left=max(one.left, left), right=min(one.right, right))
            for one, left, right in zip(panels, firsts, lasts, strict=True)
        ]
    return [one for one in panels if one.left < one.right]
