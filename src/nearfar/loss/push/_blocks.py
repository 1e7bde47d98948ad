"""How a matrix that is never stored is cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.loss.push._crowd import Pairs
from nearfar.loss.push._game import Game

# Rows and columns of a tile: 4 MiB of float32, which stay in cache.
HEIGHT, WIDTH = 1024, 1024
# Rows of a tile that is kept: it leaves the cache anyway, and products of higher ones are faster.
KEPT_HEIGHT = 2048
# The tiles on the diagonal of a triangle are computed whole: a stripe is a small part of it.
STRIPES, LOWEST = 8, 128


@dataclass
class Block:
    """Where a tile lies. Its first ``skip`` columns are rows of the same stripe of a triangle."""

    number: int
    rows: slice
    columns: slice
    skip: int

    @property
    def beyond(self) -> slice:
        """The columns whose other half of the triangle is not computed."""
        return slice(self.columns.start + self.skip, self.columns.stop)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the tile."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Blocks:
    """Tiles, stripe after stripe; of a triangle, those on and above the diagonal."""

    def __init__(self, game: Game, height: int) -> None:
        self.rows, self.columns = len(game.query), len(game.keys)
        self.triangle, self.height = game.triangle, height
        if game.triangle:
            self.height = min(height, HEIGHT, max(LOWEST, self.rows // STRIPES))
        self.spans = self._spans(game)

    def _spans(self, game: Game) -> list[tuple[int, int]]:
        """The first and the last column that each stripe needs."""
        tops = range(0, self.rows, self.height)
        spans = [(0, self.columns) for _ in tops]
        row, column = game.crowd.row_id, game.crowd.column_id
        if game.crowd.only_equal and row is not None and column is not None:
            ends = [min(top + self.height, self.rows) - 1 for top in tops]
            firsts = torch.searchsorted(column, row[:: self.height].contiguous()).tolist()
            lasts = torch.searchsorted(column, row[ends].contiguous(), right=True).tolist()
            spans = list(zip(firsts, lasts, strict=True))
        if self.triangle:
            spans = [
                (max(top, first), last) for top, (first, last) in zip(tops, spans, strict=True)
            ]
        return spans

    def __iter__(self) -> Iterator[Block]:
        number = 0
        for stripe, (first, last) in enumerate(self.spans):
            top, bottom = stripe * self.height, min((stripe + 1) * self.height, self.rows)
            for left in range(first, last, WIDTH):
                right = min(left + WIDTH, last)
                skip = max(0, min(bottom, right) - left) if self.triangle else 0
                yield Block(number, slice(top, bottom), slice(left, right), skip)
                number += 1

    @property
    def largest(self) -> int:
        """Entries of the largest tile."""
        return min(self.height, self.rows) * min(WIDTH, self.columns)

    def places(self, pairs: Pairs) -> tuple[Tensor, ...]:
        """For each tile, the places in it, counted row by row, of the pairs that lie in it."""
        row, column = pairs
        if self.spans == [(0, self.columns)] and self.columns <= WIDTH:
            return (row * self.columns + column,)
        first, last = torch.tensor(self.spans, device=row.device).view(-1, 2).T
        each = (last - first + WIDTH - 1).clamp_min(0).div(WIDTH, rounding_mode="floor")
        stripe = row.div(self.height, rounding_mode="floor")
        inside = (column >= first[stripe]) & (column < last[stripe])
        row, column, stripe = row[inside], column[inside], stripe[inside]
        across = (column - first[stripe]).div(WIDTH, rounding_mode="floor")
        left = first[stripe] + across * WIDTH
        width = (last[stripe] - left).clamp_max(WIDTH)
        place = (row - stripe * self.height) * width + column - left
        tile = (each.cumsum(0) - each)[stripe] + across
        order = tile.argsort(stable=True)
        sizes = tile.bincount(minlength=int(each.sum())).tolist()
        return torch.split(place[order], sizes)
