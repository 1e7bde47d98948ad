"""Where a matrix that is never stored is looked at: panels, before they are cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from nearfar.loss.push._game import Game


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

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def entries(self) -> int:
        """Of all of it."""
        return self.shape[0] * self.shape[1]


def rectangle(whole: Panel, height: int) -> Iterator[Panel]:
    """Stripes of so many rows."""
    for top in range(whole.top, whole.bottom, height):
        yield replace(whole, top=top, bottom=min(top + height, whole.bottom))


def triangle(cells: int, side: int, height: int) -> Iterator[Panel]:
    """Cells on the diagonal; and above, the square between two halves, then between halves of each.

    Products like large squares, and what is alike stands together.

    Args:
        cells: Along the diagonal.
        side: Of a cell.
        height: Rows of a panel, at most.
    """
    for first in range(0, cells * side, side):
        yield Panel(first, first + side, first, first + side)
    halves = [(0, cells)]
    while halves:
        wholes, halves = halves, []
        for first, last in wholes:
            middle = (first + last + 1) // 2
            if middle == last:
                continue
            top, left, right = first * side, middle * side, last * side
            yield from rectangle(Panel(top, left, left, right, True), height // side * side)
            halves += [(first, middle), (middle, last)]


def needed(panels: list[Panel], game: Game) -> list[Panel]:
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
