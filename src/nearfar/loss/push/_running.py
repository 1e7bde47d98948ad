"""Sums with running maxima, for logits that spread too far for one shift: very low temperatures."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss._numbers import normal, without_faint
from nearfar.loss.push._block import Block
from nearfar.loss.push._game import Game
from nearfar.loss.push._range import LOG2E
from nearfar.loss.push._tiles import Tiles


def forward(game: Game) -> tuple[Tensor, Tensor | None]:
    """Logsumexp along rows and columns."""
    tiles = Tiles(game, None)
    rows = _Sums(game.query)
    columns = rows if game.triangle else _Sums(game.keys)
    for block in tiles:
        tile = tiles.logits(block, tiles.wide[block])
        rows.add(block.rows, tile, 1, tiles.spare[block])
        if game.both or block.mirrored:
            columns.add(block.columns, tile, 0, tiles.spare[block])
    return rows.log(), columns.log() if game.both else None


class _Sums:
    """Sums of exponentials along one side of a matrix."""

    def __init__(self, side: Tensor) -> None:
        self.sum = side.new_zeros(len(side))
        self.top = torch.full_like(self.sum, -torch.inf)

    def add(self, at: slice, tile: Tensor, dim: int, scratch: Tensor) -> None:
        if not tile.numel():
            return
        top = torch.maximum(self.top[at], tile.amax(dim))
        shift = top.clamp_min(torch.finfo(top.dtype).min)
        lifted = normal(torch.sub(tile, shift.unsqueeze(dim), out=scratch), 2.0)
        self.sum[at] *= (self.top[at] - shift).exp2()
        self.sum[at] += lifted.exp2_().sum(dim)
        self.top[at] = top

    def log(self) -> Tensor:
        return (self.sum.log2() + self.top.clamp_min(torch.finfo(self.top.dtype).min)) / LOG2E


class Force:
    """dL / ds of a tile of logits: for each row and column, its incoming gradient times p."""

    def __init__(
        self,
        tiles: Tiles,
        row: tuple[Tensor, Tensor],
        column: tuple[Tensor, Tensor] | None,
    ) -> None:
        self.tiles = tiles
        self.row = self._side(*row)
        self.column = None if column is None else self._side(*column)

    @staticmethod
    def _side(log: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        empty = log == -torch.inf
        return (log * LOG2E).masked_fill_(empty, 0.0), grad.masked_fill(empty, 0.0)

    def of(self, block: Block) -> Tensor:
        """The forces of a tile, which is computed again."""
        tile = self.tiles.logits(block, self.tiles.wide[block])
        out = self.tiles.spare[block]
        log, weight = (side[block.rows, None] for side in self.row)
        normal(torch.sub(tile, log, out=out), 2.0).exp2_().mul_(weight)
        if self.column is not None:
            log, weight = (side[block.columns] for side in self.column)
            out.addcmul_(normal(tile.sub_(log), 2.0).exp2_(), weight)
        return without_faint(out)
