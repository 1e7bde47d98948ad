"""A tile of a matrix that is never stored, or several equal ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from nearfar.loss.push._crowd import Diagonal


@dataclass
class Block:
    """Where a tile lies: in the matrix and, ``before`` entries after the first, among all tiles.

    Attributes:
        number: Its place in their order.
        rows: Of the matrix.
        columns: Of the matrix.
        mirrored: As of a panel.
        count: So many equal tiles are taken at once, and this is where the first of them lies.
        step: So many rows further down, and columns to the right, lies the next one.
        shape: (height, width), of several (count, height, width).
    """

    number: int
    before: int
    rows: slice
    columns: slice
    mirrored: bool
    count: int = 1
    step: int = 0
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        one = self.rows.stop - self.rows.start, self.columns.stop - self.columns.start
        self.shape = one if self.count == 1 else (self.count, *one)

    @property
    def end(self) -> int:
        """So many entries of room for all of them lie before this one's end."""
        return self.before + math.prod(self.shape)

    @property
    def spot(self) -> tuple[int, int, int, int]:
        """Where loops find it: its first row and column, the rows of one, and ``step``."""
        return self.rows.start, self.columns.start, self.shape[-2], self.step

    def alone(self, room: Tensor) -> Tensor:
        """The tile in room for one at a time."""
        return room[: math.prod(self.shape)].view(self.shape)

    def along(self, room: Tensor) -> Tensor:
        """The tile in room for all columns of its rows, one tile after the other."""
        return self.alone(room[self.columns.start * self.shape[-2] :])

    def among(self, room: Tensor) -> Tensor:
        """The tile in room for all of them."""
        return self.alone(room[self.before :])

    def down(self, x: Tensor) -> Tensor:
        """Its rows' part of (N, ...): (height, ...), of several (count, height, ...)."""
        return self._part(x, self.rows)

    def across(self, x: Tensor) -> Tensor:
        """Its columns' part of (M, ...): (width, ...), of several (count, width, ...)."""
        return self._part(x, self.columns)

    def of(self, matrix: Tensor) -> Tensor:
        """Its part of (N, M)."""
        if self.count == 1:
            return matrix[self.rows, self.columns]
        corner, (row, column) = matrix[self.rows.start :, self.columns.start :], matrix.stride()
        return corner.as_strided(self.shape, (self.step * (row + column), row, column))

    def inside(self, diagonal: Diagonal) -> list[Diagonal]:
        """What lies in the tile of a diagonal of the matrix, from its corner; in several, each."""
        height, right = self.shape[-2], diagonal.column - diagonal.row
        found = []
        for number in range(self.count):
            top, left = (side.start + number * self.step for side in (self.rows, self.columns))
            first = max(top, diagonal.row, left - right)
            last = min(top + height, diagonal.row + diagonal.length, left + self.shape[-1] - right)
            if first < last:
                row = number * height + first - top
                found.append(Diagonal(row, first + right - left, last - first))
        return found

    def crossed_by(self, diagonals: Sequence[Diagonal]) -> list[Diagonal]:
        """`inside` of each."""
        return [one for diagonal in diagonals for one in self.inside(diagonal)]

    def _part(self, x: Tensor, side: slice) -> Tensor:
        if self.count == 1:
            return x[side]
        last = side.stop + (self.count - 1) * self.step
        return x[side.start : last].unfold(0, side.stop - side.start, self.step).movedim(-1, 1)
