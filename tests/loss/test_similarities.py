"""Tiles that loops multiply are what PyTorch makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar.loss.push import Diagonal

pytest.importorskip("numba")
LOOPS: Any = import_module("nearfar.loss.loops.similarities")
# What both sides and tiles are of.
KINDS = [
    torch.float32,
    pytest.param(
        torch.bfloat16,
        marks=pytest.mark.skipif(not LOOPS.PAIRS, reason="takes a processor with AVX512_BF16"),
    ),
]
# How far rounded entries may be off.
CLOSE = {torch.float32: 2e-5, torch.bfloat16: 2**-8}
PLACES: Any = import_module("nearfar.loss.loops.tiles").places
Spot = tuple[int, int, int, int]


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def sides(
    rows: int, columns: int, depth: int, kind: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(rows, depth, generator=generator).to(kind),
        torch.randn(columns, depth, generator=generator).to(kind),
    )


def tile_at(query: Tensor, key: Tensor, spot: Spot, width: int) -> Tensor:
    """The tiles' similarities, one below another, in float64."""
    row, column, height, step = spot
    count = (len(query) - row - height) // step + 1 if step else 1
    whole = query.double() @ key.double().T
    return torch.cat(
        [whole[row + k * step :, column + k * step :][:height, :width] for k in range(count)]
    )


def near(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=1e-37)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [1, 15, 16, 41])
@pytest.mark.parametrize("columns", [1, 16, 31, 32, 33, 80])
@pytest.mark.parametrize("rows", [1, 13, 14, 15, 40])
def test_of_every_size(rows: int, columns: int, depth: int, kind: torch.dtype) -> None:
    # Of bfloat16, so many pairs.
    query, key = sides(rows + 5, columns + 4, depth * (4 // kind.itemsize), kind)
    spot = (3, 2, rows, 0)
    # Beside it nothing is touched.
    around = torch.full((rows + 2, columns), 7.0, dtype=kind)
    out = around[1:-1]
    LOOPS.similarities(query, key, spot, 0.5, out)
    wanted = tile_at(query, key, spot, columns) / 2
    torch.testing.assert_close(out.double(), wanted, rtol=CLOSE[kind], atol=1e-5)
    left_out = [Diagonal(0, 0, min(rows, columns)), Diagonal(rows - 1, columns // 2, 1)]
    # What was there before is added to.
    sums, across = torch.ones(rows), torch.ones(columns)
    words = 0.5, 3.0, out, sums, across, PLACES(left_out)
    LOOPS.exponentiate(query, key, spot, *words)
    wanted = (wanted - 3).exp2()
    for diagonal in left_out:
        diagonal.of(wanted).zero_()
    near(out, wanted, CLOSE[kind])
    near(sums, 1 + wanted.sum(1), 2e-5)
    near(across, 1 + wanted.sum(0), 2e-5)
    assert (around[[0, -1]] == 7).all()


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_several_tiles_at_once(number: int, both: bool, far: bool) -> None:
    query, key = sides(4 + 60 + 21, 8 + 60 + 48, 24)
    spot, width = (4, 8, 21, 30), 48
    wanted = tile_at(query, key, spot, width) * 0.5
    assert wanted.shape == (63, width)
    wanted[21:42].diagonal().fill_(-torch.inf)
    wanted = (wanted - 1).exp2()
    out, rows = torch.empty(3 * 21, width), torch.zeros(3, 42)[:, ::2]
    columns = torch.zeros(3, width) if both else None
    words = 0.5, 1.0, out, rows, columns, PLACES([Diagonal(21, 0, 21)])
    with threads(number):
        LOOPS.exponentiate(query, key, spot, *words, far=far)
    near(out, wanted, 1e-5)
    near(rows, wanted.view(3, 21, width).sum(2), 1e-5)
    if columns is not None:
        near(columns, wanted.view(3, 21, width).sum(1), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1, 14, 16, 33, 96])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_half_of_a_square_is_enough(number: int, side: int, kind: torch.dtype) -> None:
    rows, _ = sides(3 * side + 2, 0, 20, kind)
    spot = (2, 2, side, side)
    wanted = tile_at(rows, rows, spot, side)
    left_out = [Diagonal(k * side, 0, side) for k in range(3)]
    for diagonal in left_out:
        diagonal.of(wanted).fill_(-torch.inf)
    wanted = (wanted / 4).exp2()
    out, sums = torch.empty(3 * side, side, dtype=kind), torch.zeros(3, side)
    words = 0.25, 0.0, out, sums, None, PLACES(left_out)
    with threads(number):
        LOOPS.exponentiate(rows, rows, spot, *words, square=True)
    near(out, wanted, CLOSE[kind])
    near(sums, wanted.view(3, side, side).sum(2), 1e-5)
    squares = out.view(3, side, side)
    assert torch.equal(squares, squares.mT)


@pytest.mark.parametrize("columns", [16, 32, 53])
@pytest.mark.parametrize("offset", [-14.4, 0.0, 30.0, 90.0, -60.0])
def test_sigmoids(offset: float, columns: int) -> None:
    query, key = sides(37, columns, 8)
    out = torch.empty(37, columns)
    left_out = Diagonal(2, 0, 16)
    words = 0.5, offset, out, PLACES([left_out])
    total, each = LOOPS.sigmoid(query, key, (0, 0, 37, 0), *words)
    x = (query.double() @ key.double().T / 2 + offset) * torch.tensor(2.0).double().log()
    left_out.of(x).fill_(-torch.inf)
    assert total == pytest.approx(x.logaddexp(torch.zeros(())).sum().item(), rel=1e-5, abs=0)
    assert each == pytest.approx(x.sigmoid().sum().item(), rel=1e-5, abs=0)
    # What is too small to count is none.
    wanted = x.sigmoid()
    wanted[wanted < 2.0**-80] = 0
    near(out, wanted, 2e-5)


def test_what_is_not_a_number_comes_through() -> None:
    nan, inf = float("nan"), float("inf")
    query, key = torch.tensor([[nan], [inf], [-inf], [1.0]]), torch.ones(50, 1)
    out, rows = torch.empty(4, 50), torch.zeros(4)
    LOOPS.exponentiate(query, key, (0, 0, 4, 0), 1.0, 0.0, out, rows, None, PLACES([]))
    assert not rows[:2].isfinite().any()
    assert rows[2:].tolist() == [0, 100]
    total, _ = LOOPS.sigmoid(query, key, (0, 0, 4, 0), 1.0, 0.0, out, PLACES([]))
    assert total != total
