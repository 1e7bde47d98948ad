"""How a matrix is cut into tiles, of which several may be taken at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nearfar import NTXentLoss
from nearfar.loss.push import _blocks
from nearfar.loss.push._blocks import Blocks, cut
from nearfar.loss.push._crowd import Crowd, Diagonal
from nearfar.loss.push._game import Game


def game(rows: int, columns: int | None) -> Game:
    key = None if columns is None else torch.zeros(columns, 1)
    return Game(query=torch.zeros(rows, 1), key=key, scale=torch.tensor(1.0), crowd=Crowd())


@pytest.fixture
def sides(monkeypatch: pytest.MonkeyPatch) -> None:
    # Without loops, half as high.
    for name, size in {"HEIGHT": 16, "WIDTH": 4, "LOWEST": 2, "HIGHEST": 2, "_LINE": 1}.items():
        monkeypatch.setattr(_blocks, name, size)


def matrix(blocks: Blocks, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """The number of each entry of a matrix, and what tiles have said of it."""
    numbers = torch.arange(rows * columns).view(rows, columns)
    room, seen = torch.full((blocks.all,), -1), torch.zeros(rows, columns, dtype=torch.int)
    for block in blocks:
        down, across = block.down(numbers[:, 0]), block.across(numbers[0])
        tile = down.unsqueeze(-1) + across.unsqueeze(-2)
        assert tile.shape == block.shape
        assert torch.equal(tile, block.of(numbers))
        block.among(room).copy_(tile)
        block.of(seen).add_(1)
    assert (room >= 0).all()
    return room, seen


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize("rows", [1, 2, 7, 16, 23, 32])
def test_a_triangle_is_seen_once(rows: int) -> None:
    blocks = cut(game(rows, None), several=True)
    _, seen = matrix(blocks, rows, rows)
    assert seen.max() == 1
    assert (seen.triu() == torch.ones_like(seen).triu()).all()
    # Below the diagonal only the squares on it.
    assert seen.tril(-2).sum() == 0
    assert blocks.complete
    mirrored = {block.mirrored for block in blocks if block.rows.start < block.columns.start}
    assert mirrored <= {True}


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize("rows", [7, 23, 32])
def test_tiles_begin_where_lines_of_the_cache_do(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "_LINE", 32)
    blocks = cut(game(rows, None), several=True)
    room = torch.zeros(blocks.all, dtype=torch.int)
    for block in blocks:
        assert block.before % 32 == 0
        block.among(room).add_(1)
    assert room.max() == 1
    assert room[-1] == 1


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (8, 4), (20, 13)])
def test_a_rectangle_is_seen_once(rows: int, columns: int) -> None:
    blocks = cut(game(rows, columns), several=True)
    _, seen = matrix(blocks, rows, columns)
    assert (seen == 1).all()
    assert all(block.count == 1 for block in blocks)


@pytest.mark.usefixtures("sides")
def test_equal_squares_are_taken_at_once() -> None:
    one_by_one, several = (cut(game(32, None), several=answer) for answer in (False, True))
    assert max(block.count for block in one_by_one) == 1
    counts = [(block.shape, block.step) for block in several if block.count > 1]
    # 16 squares on the diagonal, and 8 beside it; up to 8 x 4 entries of a tile at once.
    assert counts == [
        ((8, 2, 2), 2),
        ((8, 2, 2), 2),
        ((2, 4, 4), 8),
        ((2, 4, 4), 8),
        ((8, 2, 2), 4),
    ]


@pytest.mark.usefixtures("sides")
def test_too_few_for_all_threads_are_shared_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    blocks = cut(game(32, None), several=True)
    assert {block.shape for block in blocks if block.count > 1} == {(8, 2, 2)}


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("rows", [7, 32])
def test_places_of_pairs(rows: int, several: bool) -> None:
    blocks = cut(game(rows, None), several=several)
    room, seen = matrix(blocks, rows, rows)
    row, column = seen.nonzero().T
    # Some twice, in no order.
    order = torch.randperm(2 * len(row), generator=torch.Generator().manual_seed(0)) % len(row)
    places = blocks.places((row[order], column[order]))
    assert len(places) == len(blocks.each)
    for block, found in zip(blocks, places, strict=True):
        told = block.among(room).reshape(-1)[found]
        assert len(found) == 2 * block.alone(room).numel()
        assert torch.equal(told.unique(), block.among(room).reshape(-1).sort().values)


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize(
    "diagonal", [Diagonal(0, 0, 32), Diagonal(0, 16, 16), Diagonal(3, 1, 20), Diagonal(1, 8, 0)]
)
def test_diagonals_within_tiles(diagonal: Diagonal) -> None:
    blocks = cut(game(32, None), several=True)
    whole = torch.zeros(32, 32)
    diagonal.of(whole).fill_(1)
    for block in blocks:
        tile = torch.zeros(block.shape)
        for part in block.inside(diagonal):
            part.of(tile.view(-1, tile.shape[-1])).fill_(1)
        assert torch.equal(tile, block.of(whole))


@pytest.mark.usefixtures("sides")
@pytest.mark.parametrize("views", [2, 3])
def test_any_number_of_threads(views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tiles are several then and some are not, in the backward pass perhaps others."""
    x = torch.randn(views, 37, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    wanted = torch.autograd.grad(NTXentLoss(0.3, backend="dense")(*x), x)
    for now, later in ((1, 3), (3, 5), (5, 1)):
        monkeypatch.setattr(torch, "get_num_threads", lambda now=now: now)
        loss = NTXentLoss(0.3, backend="tiled")(*x)
        monkeypatch.setattr(torch, "get_num_threads", lambda later=later: later)
        for _ in range(2):
            found = torch.autograd.grad(loss, x, retain_graph=True)
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
