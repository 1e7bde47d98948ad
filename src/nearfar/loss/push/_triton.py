"""The triton backend: logsumexp of a similarity matrix that is never stored, on a GPU.

The forward pass (one matrix product) leaves the sums of exponentials of each tile, which are then
added up in a fixed order. The backward pass computes the similarities again, one slab of the matrix
at a time, writes the forces they exert to memory, and multiplies these with the keys and with the
queries: 4 products for both directions, and O((N + M) D) memory beside the slab. One batch against
itself needs only the tiles on and above the diagonal: half of everything.

One kernel for the whole backward pass would do without the slab, but its programs would have to add
to the same gradients: at D = 768 and tiles of 128 x 256, 9 atomic additions (36 bytes) for each
similarity, in no fixed order. The slab is written once and read twice, 6 bytes.

Nothing waits for the GPU, and the same inputs give the same bits. Where one constant does not serve
all exponentials of a tile, the tile's program sees that, and takes each row's own maximum.

With bf16, similarities are products of embeddings rounded to bfloat16, summed in float32; the scale
comes after. Others are float32 throughout, whatever torch is allowed to do with its own products.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from nearfar.loss.push import _slabs
from nearfar.loss.push._add import ENTRIES, add_logs, add_product
from nearfar.loss.push._game import Game
from nearfar.loss.push._kernels import tile_forces, tile_sums
from nearfar.loss.push._slabs import Processors, Slab, Slabs, Tile, parts, shares, up

# The logsumexp of each row, or column, and the gradient that comes in for it.
Side = tuple[Tensor, Tensor]
# Without tensor cores. Three products of tf32 would be faster, but tensor cores cut sums off where
# they should round: similarities would be off by up to 2e-6, which a low temperature makes 2e-3.
PRECISION = "ieee"


def forward(game: Game, *, keep: bool) -> tuple[Tensor, Tensor | None, None]:
    """Logsumexp along rows and columns; nothing is kept."""
    rows = game.query.new_full((len(game.query),), -torch.inf)
    columns = rows if game.triangle else game.keys.new_full((len(game.keys),), -torch.inf)
    with _device(game.query):
        board = _Board(game)
        for slab in board.slabs:
            board.add_sums(slab, rows, columns)
    return rows, columns if game.both else None, None


def backward(
    game: Game,
    row: Side,
    column: Side | None,
    kept: None,
    factor: Tensor,
    *,
    needs_query: bool = True,
    needs_key: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of queries and keys.

    Args:
        game: As in `forward`.
        row: Logsumexp of each row and the gradient that comes in for it.
        column: The same for each column; of a triangle, columns are rows.
        kept: Nothing.
        factor: 0-dim, of what comes out.
        needs_query: Compute the queries' gradient.
        needs_key: Compute the keys' gradient.
    """
    row = row[0], row[1].contiguous()
    if game.triangle:
        column = row
    elif column is not None:
        column = column[0], column[1].contiguous()
    grad_query = game.query.new_zeros(game.query.shape) if needs_query else None
    grad_key = None
    if needs_key and not game.triangle:
        grad_key = game.keys.new_zeros(game.keys.shape)
    target = grad_query if game.triangle else grad_key
    with _device(game.query):
        board = _Board(game)
        room = board.room()
        for slab in board.slabs:
            force = board.forces(slab, row, column, room)
            if grad_query is not None:
                board.add_product(force, board.key, slab.columns, grad_query[slab.rows])
            if target is not None and not slab.diagonal:
                board.add_product(force.T, board.query, slab.rows, target[slab.columns])
    for found in (grad_query, grad_key):
        if found is not None:
            found *= factor
    return grad_query, grad_key


class _Board:
    """A game as the kernels take it."""

    def __init__(self, game: Game) -> None:
        self.tiles = _slabs.BF16 if game.bf16 else _slabs.FLOAT32
        self.dtype = torch.bfloat16 if game.bf16 else torch.float32
        self.query = self._readable(game.query)
        self.key = self.query if game.triangle else self._readable(game.keys)
        self.scale, self.bound = game.scale.detach().float(), _bound(game)
        self.row_id, self.column_id = game.crowd.row_id, game.crowd.column_id
        if self.row_id is None or self.column_id is None:
            self.row_id = self.column_id = None
        else:
            self.row_id, self.column_id = self.row_id.contiguous(), self.column_id.contiguous()
        self.two_sided = game.both or game.triangle
        self.processors = _processors(game.query.device)
        tile = self.tiles.of_gradients(game.query.shape[1])
        most = _slabs.BYTES // self.dtype.itemsize
        self.slabs = Slabs(game, most, tile, self.processors.number)

    def _readable(self, x: Tensor) -> Tensor:
        """The embeddings, with zeros around them so that tiles need not look where they end."""
        rows, dim = x.shape
        depth = self.tiles.long.depth
        out = x.new_zeros(rows + _slabs.MARGIN, up(dim, depth), dtype=self.dtype)
        out[:rows, :dim] = x
        return out

    def room(self) -> Tensor:
        """For the forces of the largest slab."""
        return self.query.new_zeros(self.slabs.height * self.slabs.width)

    def add_sums(self, slab: Slab, rows: Tensor, columns: Tensor) -> None:
        """Add a slab to the logsumexps of its rows and, if the game asks, of its columns."""
        height, width = slab.shape
        dim = self.query.shape[1]
        tile = self.tiles.of_logits(height, width, dim, self.processors.number)
        # Below the diagonal there is nothing that would write.
        new = rows.new_zeros if slab.diagonal else rows.new_empty
        row_part = new((2, parts(width, tile.width), height))
        column_part = new((2, parts(height, tile.height), width)) if self.two_sided else None
        tile_sums[(tile.number(height, width),)](
            *self._players(slab),
            row_part,
            column_part,
            height,
            width,
            dim,
            DIAGONAL=slab.diagonal,
            **self._options(tile),
        )
        _add_logs(rows[slab.rows], row_part)
        if column_part is not None:
            _add_logs(columns[slab.columns], column_part)

    def forces(self, slab: Slab, row: Side, column: Side | None, room: Tensor) -> Tensor:
        """The loss's derivatives by the logits of a slab, times the scale; zeros around them."""
        height, width = slab.shape
        dim = self.query.shape[1]
        tile = self.tiles.of_logits(height, width, dim, self.processors.number)
        shape = up(height, _slabs.MARGIN), up(width, _slabs.MARGIN)
        force = room[: shape[0] * shape[1]].view(shape)
        tile_forces[(tile.number(height, width),)](
            *self._players(slab),
            *(side[slab.rows] for side in row),
            *((None, None) if column is None else (side[slab.columns] for side in column)),
            force,
            height,
            width,
            dim,
            shape[1],
            DIAGONAL=slab.diagonal,
            **self._options(tile),
        )
        return force

    def _players(self, slab: Slab) -> tuple[Tensor | None, ...]:
        query, key = self.query[slab.rows.start :], self.key[slab.columns.start :]
        row_id = None if self.row_id is None else self.row_id[slab.rows]
        column_id = None if self.column_id is None else self.column_id[slab.columns]
        return query, key, self.scale, self.bound, row_id, column_id

    def add_product(self, force: Tensor, side: Tensor, terms: slice, to: Tensor) -> None:
        """Add forces times the embeddings ``side[terms]``."""
        rows, dim = to.shape
        inner = terms.stop - terms.start
        tile = self.tiles.of_gradients(dim)
        number = tile.number(rows, dim)
        share = up(parts(inner, shares(number, inner, self.processors.number)), tile.depth)
        most = max(1, _slabs.BYTES // (4 * rows * dim))  # sums that a slab's room would hold
        share = max(share, up(parts(inner, most), tile.depth))
        cut = parts(inner, share)
        out = to if cut == 1 else to.new_zeros(cut, rows, dim)
        add_product[(number, cut)](
            force,
            side[terms.start :],
            out,
            rows,
            inner,
            dim,
            *force.stride(),
            side.stride(0),
            share,
            **self._options(tile),
        )
        if cut > 1:
            to += out.sum(0)

    def _options(self, tile: Tile) -> dict[str, Any]:
        tile = tile.within(self.processors.memory, self.dtype.itemsize)
        sides = {"HEIGHT": tile.height, "WIDTH": tile.width, "DEPTH": tile.depth}
        launch = {"num_warps": tile.warps, "num_stages": tile.stages}
        return {"PRECISION": PRECISION, **sides, **launch}


def _add_logs(log: Tensor, part: Tensor) -> None:
    add_logs[(parts(len(log), ENTRIES.value),)](log, part, len(log), part.shape[1])


def _bound(game: Game) -> Tensor:
    """No similarity is larger, but for rounding."""
    if game.highest is not None:
        return game.query.new_full((), game.highest * game.stretch)
    sides = [game.query] if game.triangle else [game.query, game.keys]
    if not all(len(side) for side in sides):
        return game.query.new_zeros(())
    lengths: list[Tensor] = [torch.linalg.vector_norm(side, dim=1).amax() for side in sides]
    return lengths[0] * lengths[-1] * game.stretch


def _device(x: Tensor) -> AbstractContextManager[object]:
    """Kernels run on the current GPU, wherever their tensors are."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


@cache
def _processors(device: torch.device) -> Processors:
    if device.type != "cuda":
        return Processors(1, 2**20)
    driver = import_module("triton.runtime").driver
    found = driver.active.utils.get_device_properties(device.index)
    return Processors(found["multiprocessor_count"], found["max_shared_mem"])
