"""Tiles of logits, one after the other, and the sums of their exponentials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# exp(60) times a million candidates is still a float32; exp(-60) is still a normal one.
_SAFE = {torch.float32: 60.0, torch.float64: 600.0}
# Rows and columns of a tile: 2 MiB of float32.
HEIGHT, WIDTH = 256, 2048


@dataclass
class Block:
    """Where a tile lies. Its first ``skip`` columns are rows of the same stripe of a triangle."""

    rows: slice
    columns: slice
    skip: int

    @property
    def beyond(self) -> slice:
        """The columns whose other half of the triangle is not computed."""
        return slice(self.columns.start + self.skip, self.columns.stop)


@dataclass
class Game:
    """All that a tile of logits is made from."""

    scaled: Tensor
    key: Tensor
    row_id: Tensor | None
    column_id: Tensor | None
    triangle: bool

    def blocks(self) -> Iterator[Block]:
        rows, columns = len(self.scaled), len(self.key)
        for top in range(0, rows, HEIGHT):
            bottom = min(top + HEIGHT, rows)
            for left in range(top if self.triangle else 0, columns, WIDTH):
                right = min(left + WIDTH, columns)
                skip = max(0, min(bottom, right) - left) if self.triangle else 0
                yield Block(slice(top, bottom), slice(left, right), skip)

    def bounded(self) -> bool:
        """No logit can be so large that its exponential leaves the number range."""
        if not self.scaled.numel() or not self.key.numel():
            return True
        bound = self.scaled.norm(dim=1).max() * self.key.norm(dim=1).max()
        return bool(bound <= _SAFE[self.scaled.dtype])

    def logits(self, block: Block, buffer: Tensor | None) -> Tensor:
        """The tile of ``block``, -inf outside the crowd; in ``buffer`` if there is one."""
        query, key = self.scaled[block.rows], self.key[block.columns]
        tile = view(buffer, block) if buffer is not None else query.new_empty(len(query), len(key))
        torch.mm(query, key.T, out=tile)
        if self.row_id is not None and self.column_id is not None:
            same = self.row_id[block.rows, None] == self.column_id[block.columns]
            return tile.masked_fill_(same, -torch.inf)
        offset = block.rows.start - block.columns.start
        if -len(query) < offset < len(key):
            tile.diagonal(offset).fill_(-torch.inf)
        return tile

    def buffer(self) -> Tensor:
        return self.scaled.new_empty(min(HEIGHT * WIDTH, len(self.scaled) * len(self.key)))


def view(buffer: Tensor, block: Block) -> Tensor:
    height = block.rows.stop - block.rows.start
    width = block.columns.stop - block.columns.start
    return buffer[: height * width].view(height, width)


class Sums:
    """Sums of exponentials along one side, with running maxima where they are needed."""

    def __init__(self, like: Tensor, *, bounded: bool) -> None:
        self.sum = like.new_zeros(len(like))
        self.top = None if bounded else torch.full_like(self.sum, -torch.inf)

    def add(self, at: slice, tile: Tensor, dim: int, scratch: Tensor) -> None:
        """Add a tile: exponentials where nothing is subtracted, otherwise logits."""
        if not tile.numel():
            return
        if self.top is None:
            self.sum[at] += tile.sum(dim)
            return
        top = torch.maximum(self.top[at], tile.amax(dim))
        shift = top.clamp_min(torch.finfo(top.dtype).min)
        lifted = torch.sub(tile, shift.unsqueeze(dim), out=scratch[: tile.numel()].view(tile.shape))
        self.sum[at] *= (self.top[at] - shift).exp()
        self.sum[at] += lifted.exp_().sum(dim)
        self.top[at] = top

    def log(self) -> Tensor:
        log = self.sum.log()
        return log if self.top is None else log + self.top.clamp_min(torch.finfo(log.dtype).min)
