"""Loops compiled by numba do to a tile what PyTorch does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

from nearfar import ClipLoss, SigLipLoss
from nearfar.loss import loops
from nearfar.loss._unit import unit
from nearfar.loss.push import Diagonal

pytest.importorskip("numba")
LOOPS: Any = import_module("nearfar.loss.loops.tiles")
SIGMOIDS: Any = import_module("nearfar.loss.loops.sigmoids")
FORMATS = [torch.float32, torch.bfloat16]


def logits(format: torch.dtype, rows: int = 37, columns: int = 53, spread: float = 9.0) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(rows, columns, generator=generator) * spread).to(format)


def near(got: Tensor, wanted: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=1e-37)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_exponentials_and_their_sums(format: torch.dtype, apart: bool, threads: int) -> None:
    tile = logits(format)
    wanted = (tile.double() / 2 - 3).exp2()
    for place in (Diagonal(30, 0, 7), Diagonal(0, 40, 13)):
        place.of(wanted).zero_()
    out = torch.full_like(tile, 7) if apart else tile
    # What was there before is added to.
    rows, columns = torch.ones(37), torch.ones(53)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left_out = LOOPS.places([Diagonal(30, 0, 7), Diagonal(0, 40, 13)])
        LOOPS.exponentiate(tile, 0.5, 3.0, out, rows, columns, left_out)
    finally:
        torch.set_num_threads(before)
    near(out, wanted, 1e-6 if format == torch.float32 else 2**-8)
    near(rows, 1 + wanted.sum(1), 1e-6)
    near(columns, 1 + wanted.sum(0), 1e-6)


@pytest.mark.parametrize("first", [0, 1, 15, 16])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 53, 128])
def test_exponentials_past_the_cache(first: int, columns: int) -> None:
    tile = logits(torch.float32, 9, columns)
    # From anywhere in a line of the cache to anywhere in another; beside it, nothing is touched.
    around = torch.full((first + tile.numel() + 16,), 7.0)
    out = around[first : first + tile.numel()].view_as(tile)
    rows, sums = torch.zeros(9), torch.zeros(columns)
    LOOPS.exponentiate(tile, 1.0, 0.0, out, rows, sums, LOOPS.places([Diagonal(2, 0, 1)]), far=True)
    wanted = tile.double().exp2()
    wanted[2, 0] = 0
    near(out, wanted, 1e-6)
    near(rows, wanted.sum(1), 1e-6)
    near(sums, wanted.sum(0), 1e-6)
    assert (around[:first] == 7).all()
    assert (around[first + tile.numel() :] == 7).all()


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_several_tiles_at_once(threads: int, far: bool) -> None:
    tile = logits(torch.float32, 3 * 7, 20)
    out, rows, columns = torch.empty_like(tile), torch.zeros(3, 14)[:, ::2], torch.zeros(3, 20)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left_out = LOOPS.places([Diagonal(7, 0, 7)])
        LOOPS.exponentiate(tile, 1.0, 0.0, out, rows, columns, left_out, far=far)
        forces = torch.empty_like(out)
        LOOPS.force(out, rows, columns, forces)
    finally:
        torch.set_num_threads(before)
    wanted = tile.double().exp2()
    wanted[7:14].diagonal().zero_()
    near(out, wanted, 1e-6)
    wanted = wanted.view(3, 7, 20)
    near(rows, wanted.sum(2), 1e-6)
    near(columns, wanted.sum(1), 1e-6)
    weights = wanted.sum(2).unsqueeze(2) + wanted.sum(1).unsqueeze(1)
    near(forces.view(3, 7, 20), weights * wanted, 3e-6)


def test_exponentials_of_the_whole_range() -> None:
    tile = torch.linspace(-140, 100, 100_001).view(1, -1)
    out = torch.empty_like(tile)
    LOOPS.exponentiate(tile, 1.0, 0.0, out, None, None, LOOPS.places([]))
    # Below the normal numbers there is nothing.
    wanted = torch.where(tile < -126, 0.0, tile.double().exp2())
    near(out, wanted, 2e-7)


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_not_a_number_comes_through(format: torch.dtype) -> None:
    nan, inf = float("nan"), float("inf")
    tile = torch.tensor([[nan, 1.0], [inf, 1.0], [-inf, 1.0]], dtype=format)
    rows = torch.zeros(3)
    LOOPS.exponentiate(tile, 1.0, 0.0, torch.empty_like(tile), rows, None, LOOPS.places([]))
    assert not rows[:2].isfinite().any()
    assert rows[2] == 2
    nobody = LOOPS.places([])
    sums = [SIGMOIDS.sigmoid(row.clone()[None], 1.0, 0.0, row[None], nobody) for row in tile]
    assert all(x != x for x in sums[0])
    assert sums[1][0] == inf
    assert sums[2][0] == pytest.approx(1.0986123)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("format", FORMATS)
def test_forces(format: torch.dtype, both: bool) -> None:
    tile = logits(format)
    row, column = torch.rand(37), torch.rand(53) if both else None
    wanted = row[:, None] * tile.float()
    if column is not None:
        wanted = (row[:, None] + column) * tile.float()
    out = torch.empty_like(tile)
    LOOPS.force(tile, row, column, out)
    # bfloat16 is rounded as PyTorch rounds it.
    torch.testing.assert_close(out, wanted.to(format), rtol=1e-6, atol=0)
    LOOPS.force(tile, row, column, tile)
    assert torch.equal(tile, out)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("offset", [-14.4, 0.0, 30.0, 90.0, -40.0, -60.0, -100.0])
def test_sigmoids(format: torch.dtype, offset: float) -> None:
    tile = logits(format)
    x = (tile.double() / 2 + offset) * torch.tensor(2.0).double().log()
    Diagonal(0, 3, 37).of(x).fill_(-torch.inf)
    out = torch.empty_like(tile)
    total, each = SIGMOIDS.sigmoid(tile, 0.5, offset, out, LOOPS.places([Diagonal(0, 3, 37)]))
    assert total == pytest.approx(x.logaddexp(torch.zeros(())).sum().item(), rel=3e-6, abs=0)
    assert each == pytest.approx(x.sigmoid().sum().item(), rel=3e-6, abs=0)
    # What is too small to count is none.
    wanted = x.sigmoid()
    wanted[wanted < 2.0**-80] = 0
    near(out, wanted, 5e-6 if format == torch.float32 else 2**-8)


def test_rows_scaled_to_length_one(passes: str) -> None:
    nan, inf = float("nan"), float("inf")
    odd = [[3, 4, 0], [1e20, 1e20, 0], [3e-20, 4e-20, 0], [3e-13, 0, 0], [0, 0, 0], [nan, 1, 1]]
    x = torch.cat([torch.tensor([*odd, [inf, 1, 1]]), torch.randn(40, 6)[:, ::2]])
    grad = torch.randn(2 * len(x), 3)
    one, two = x.clone().requires_grad_(), (2 * x).requires_grad_()
    got = unit(one, two)
    wanted = torch.nn.functional.normalize(torch.cat([one, two]))
    torch.testing.assert_close(got, wanted, equal_nan=True)
    for here, there in zip(
        torch.autograd.grad(got, (one, two), grad),
        torch.autograd.grad(wanted, (one, two), grad),
        strict=True,
    ):
        # Where a length is no number, PyTorch says so in other entries than we do.
        finite = x.isfinite().all(1) & (x[:, 0] < 1e19)
        torch.testing.assert_close(here[finite], there[finite], rtol=1e-5, atol=1e-6)
        assert not here[x.isnan().any(1)].isfinite().any()


def outcome(n: int = 1100) -> list[Tensor]:
    """A loss of more rows than the loops are loaded for."""
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(n, 8, generator=generator, requires_grad=True) for _ in range(2))
    loss = ClipLoss(backend="tiled")(q, k, 1.0) + SigLipLoss()(q, k, 1.0, -3.0)
    return [loss.detach(), *torch.autograd.grad(loss, (q, k))]


def close(one: list[Tensor], other: list[Tensor]) -> None:
    for x, y in zip(one, other, strict=True):
        torch.testing.assert_close(x, y, rtol=2e-5, atol=1e-8)


def test_large_batches_take_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    force = LOOPS.force
    spy = lambda *words, **options: (calls.append(1), force(*words, **options))  # noqa: E731
    monkeypatch.setattr(LOOPS, "force", spy)
    found = outcome()
    assert calls
    monkeypatch.setattr(loops, "LEAST", 2**62)
    calls.clear()
    close(outcome(), found)
    assert not calls


def test_threads_may_take_them_at_once() -> None:
    wanted = outcome()
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(outcome, [1100] * 6):
            close(found, wanted)


FORKED = """
import os, torch, nearfar
torch.set_num_threads(1)
q, k = torch.randn(2, 2100, 8)
wanted = nearfar.ClipLoss()(q, k, 1.0)
assert torch.get_num_threads() == 1
child = os.fork()
if child == 0:
    os._exit(int(not torch.allclose(nearfar.ClipLoss()(q, k, 1.0), wanted)))
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_threads_stay_as_many_and_a_forked_child_goes_on() -> None:
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=120)


@pytest.mark.parametrize("broken", [False, True])
def test_without_numba_all_goes_on(
    broken: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = outcome()
    if broken:
        monkeypatch.setitem(sys.modules, "nearfar.loss.loops._threads", None)
        monkeypatch.delattr("nearfar.loss.loops._threads", raising=False)
    else:
        monkeypatch.setattr(loops, "find_spec", lambda name: None)
    loops._process.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG, "nearfar.loss"):
            close(outcome(), wanted)
    finally:
        loops._process.cache_clear()
    wanted_words = "cannot be imported" if broken else "pip install 'nearfar[fast]'"
    assert wanted_words in caplog.text
