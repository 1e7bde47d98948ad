"""The kernels, under Triton's interpreter: the same sums and gradients as the stored matrix."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import nearfar.loss.push
from nearfar import InfoNCE, NTXentLoss, SupConLoss, Temperature
from nearfar.loss.push import Backend, Crowd, Game, push
from nearfar.loss.push import _slabs as slabs

pytest.importorskip("triton", minversion="3.6")
WIDE = slabs.Tile(16, 32, 16, warps=1, stages=1)
HIGH = slabs.Tile(32, 16, 16, warps=1, stages=1)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels that are interpreted, on small tiles and slabs, for one test."""
    from interpreter import mend

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    forget()
    mend(monkeypatch.setattr)
    tiles = slabs.Tiles(few=WIDE, short=WIDE, long=HIGH, product=HIGH, narrow=WIDE)
    monkeypatch.setattr(slabs, "BF16", tiles)
    monkeypatch.setattr(slabs, "FLOAT32", tiles)
    monkeypatch.setattr(slabs, "MARGIN", 32)
    monkeypatch.setattr(slabs, "BYTES", 4 * 64 * 64)
    yield
    forget()


def forget() -> None:
    """Kernels are made for a GPU or for the interpreter when they are imported."""
    for name in ("_kernels", "_add", "_triton"):
        sys.modules.pop(f"nearfar.loss.push.{name}", None)
        vars(nearfar.loss.push).pop(name, None)


def rows(number: int, dim: int, seed: int = 0) -> Tensor:
    """Unit rows around one direction."""
    x = torch.randn(number, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(x + torch.eye(dim)[0])


def game(query: Tensor, key: Tensor | None, tau: float, **options: Any) -> Game:
    options = {"crowd": Crowd(), "highest": 1.002} | options
    return Game(query=query, key=key, scale=torch.tensor(1 / tau), **options)


def outcome(of: Game, backend: Backend) -> list[Tensor]:
    """Values, and gradients with weights of both signs."""
    given = [None if x is None else x.clone() for x in (of.query, of.key, of.scale)]
    wanted = [x.requires_grad_() for x in given if x is not None]
    query, key, scale = given
    assert query is not None
    assert scale is not None
    logs = push(replace(of, query=query, key=key, scale=scale), backend)
    total = scale * 0
    for log in logs:
        if log is not None:
            weight = torch.linspace(-1, 2, len(log), dtype=log.dtype)
            total = total + (weight * log.masked_fill(log == -torch.inf, 0.0)).sum()
    grads = torch.autograd.grad(total, wanted)
    return [x.detach() for x in (*logs, *grads) if x is not None]


def check(of: Game, value: float, gradient: float) -> None:
    """Errors are no larger, as a share of the largest entry."""
    key = None if of.key is None else of.key.double()
    exact = replace(of, query=of.query.double(), key=key, scale=of.scale.double(), bf16=False)
    sides = 2 if of.both else 1
    pairs = zip(outcome(of, "triton"), outcome(exact, "dense"), strict=True)
    for number, (found, wanted) in enumerate(pairs):
        assert found.dtype == torch.float32
        empty = wanted == -torch.inf
        assert torch.equal(found == -torch.inf, empty)
        error = (found - wanted).masked_fill(empty, 0.0).abs()
        most = (value if number < sides else gradient) * wanted.masked_fill(empty, 0.0).abs()
        if len(error.flatten()):
            assert error.max() <= most.max() + 1e-9, number


def crowds(name: str, n: int, m: int) -> Crowd:
    if name == "everybody":
        return Crowd()
    row, column = torch.arange(n), torch.arange(m)
    if name == "one id":
        return Crowd(row_id=row, column_id=column)
    if name == "many ids":
        return Crowd(row_id=row % 3, column_id=(column % 4).int())
    # The first three queries and the other keys have nobody.
    return Crowd(row_id=(row > 2).int(), column_id=torch.where(column < 5, 0, 1))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("tau", [1e-3, 1e-2, 0.1, 10.0])
@pytest.mark.parametrize("form", ["one way", "both ways", "triangle"])
def test_kernels_equal_the_stored_matrix(form: str, tau: float) -> None:
    key = None if form == "triangle" else rows(70, 21, 1)
    check(game(rows(43, 21), key, tau, both=form == "both ways"), 1e-6, 1e-4)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", ["one id", "many ids", "nobody"])
@pytest.mark.parametrize("form", ["one way", "both ways", "triangle"])
@pytest.mark.parametrize("tau", [5e-3, 0.5])
def test_crowds(name: str, form: str, tau: float) -> None:
    key = None if form == "triangle" else rows(37, 5, 1)
    crowd = crowds(name, 35, 37)
    if key is None:
        crowd = replace(crowd, column_id=crowd.row_id)
    check(game(rows(35, 5), key, tau, crowd=crowd, both=form == "both ways"), 1e-6, 1e-4)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("form", ["both ways", "triangle"])
def test_several_slabs_and_rows_of_any_length(form: str) -> None:
    key = None if form == "triangle" else 3 * rows(90, 18, 1)
    check(game(2 * rows(100, 18), key, 0.2, both=True, highest=None), 1e-6, 1e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("form", ["one way", "both ways", "triangle"])
@pytest.mark.parametrize("tau", [1e-3, 0.1])
def test_bfloat16_is_exact_on_what_is_bfloat16(form: str, tau: float) -> None:
    """Similarities are; forces are rounded once, to 8 bits."""
    query, key = (rows(40, 33, seed).bfloat16().float() for seed in (0, 1))
    against = None if form == "triangle" else key
    check(game(query, against, tau, both=form == "both ways", bf16=True), 1e-6, 4e-3)


@pytest.mark.usefixtures("kernels")
def test_sums_of_opposites_do_not_vanish() -> None:
    """All logits are far below what the constant shift was made for, and some are not."""
    query, key = rows(40, 8), -rows(40, 8)
    key[7] = query[5]
    check(game(query, key, 2e-3, both=True), 1e-6, 1e-4)
    check(game(torch.cat([query, key]), None, 2e-3), 1e-6, 1e-4)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("backend", ["triton", "tiled"])
def test_what_rounding_adds_overflows_nothing(backend: Backend) -> None:
    for x in (30 * rows(65, 3), torch.full((40, 16), 25.1)):
        for key in (None, x):
            for found in outcome(game(x, key, 0.07, bf16=True, highest=None), backend):
                assert found.isfinite().all()


@pytest.mark.usefixtures("kernels")
@pytest.mark.filterwarnings("ignore:overflow encountered")
@pytest.mark.parametrize("both", [False, True])
def test_a_sum_that_overflows_has_no_gradient(both: bool) -> None:
    x = torch.full((4, 1), 100.0)
    found = outcome(game(x, x.clone(), 1.0, both=both), "triton")
    assert found[0].isinf().all()
    assert not any(grad.isfinite().any() for grad in found[-3:])


@pytest.mark.usefixtures("kernels")
def test_weights_are_not_all_off_alike() -> None:
    """Pull and push cancel in the temperature's gradient, and what is left is small."""

    def cluster(seed: int) -> Tensor:
        noise = torch.randn(33, 16, generator=torch.Generator().manual_seed(seed))
        return 0.05 * noise + torch.eye(16)[0]

    def gradient(seed: int, dtype: torch.dtype, backend: Backend) -> float:
        q, k = cluster(seed).to(dtype), cluster(seed + 100).to(dtype)
        tau = torch.tensor(0.0148, dtype=dtype, requires_grad=True)
        loss = InfoNCE(tau, symmetric=True, backend=backend)(q, k)
        return float(torch.autograd.grad(loss, tau)[0] * 0.0148)

    off = [
        gradient(seed, torch.float32, "triton") - gradient(seed, torch.float64, "dense")
        for seed in range(8)
    ]
    assert abs(sum(off) / len(off)) < 2e-5


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0), (1, 1), (1, 40)])
def test_hardly_anybody(n: int, m: int) -> None:
    check(game(rows(n, 3), rows(m, 3, 1), 0.1, both=True, highest=None), 1e-6, 1e-5)
    check(game(rows(n, 3), None, 0.1), 1e-6, 1e-5)
    check(game(rows(n, 3), None, 0.1, crowd=crowds("one id", n, n)), 1e-6, 1e-5)


@pytest.mark.usefixtures("kernels")
def test_few_rows_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    from nearfar.loss.push import _triton

    monkeypatch.setattr(_triton, "_processors", lambda device: slabs.Processors(64, 2**20))
    monkeypatch.setattr(slabs, "BYTES", 2**20)
    check(game(rows(4, 3), rows(520, 3, 1), 0.1, both=True), 1e-6, 1e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_what_is_needed(needed: tuple[bool, bool]) -> None:
    query, key = rows(9, 3).requires_grad_(needed[0]), rows(8, 3, 1).requires_grad_(needed[1])
    wanted = query if needed[0] else key
    grads = [
        torch.autograd.grad(push(game(query, key, 0.1), backend)[0].sum(), wanted)[0]
        for backend in ("triton", "dense")
    ]
    torch.testing.assert_close(grads[0], grads[1])


Form = Callable[[Tensor, Tensor, Any], Tensor]
LOSSES: dict[str, Form] = {
    "one way": lambda q, k, how: InfoNCE(**how)(q, k),
    "symmetric, ids": lambda q, k, how: InfoNCE(symmetric=True, **how)(
        q, k, ids=torch.arange(len(q)) // 2
    ),
    "not normalised": lambda q, k, how: InfoNCE(normalize=False, symmetric=True, **how)(q, k),
    "each row": lambda q, k, how: InfoNCE(reduction="none", **how)(q, k).square().sum(),
    "bank": lambda q, k, how: InfoNCE(in_batch=True, **how)(q, k, q.detach().roll(1, 1)),
    "two views": lambda q, k, how: NTXentLoss(**how)(q, k),
    "three views": lambda q, k, how: NTXentLoss(**how)(q, k, q + k),
    "labels": lambda q, k, how: SupConLoss(**how)(q + k, torch.arange(len(q)) % 5),
}


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    def result(backend: Backend) -> list[Tensor]:
        q, k = rows(21, 6).requires_grad_(), rows(21, 6, 1).requires_grad_()
        temperature = Temperature(0.1, learnable=True)
        loss = LOSSES[name](q, k, {"temperature": temperature, "backend": backend})
        loss.backward()
        return [x for x in (loss.detach(), q.grad, k.grad, temperature.log.grad) if x is not None]

    torch.testing.assert_close(result("triton"), result("dense"), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_second_derivatives_and_the_same_bits() -> None:
    q, k = rows(20, 4).requires_grad_(), rows(40, 4, 1).requires_grad_()
    found = []
    for backend in ("triton", "triton", "dense"):
        log = push(game(q, k, 0.2, both=True), backend)[1]
        assert log is not None
        (first,) = torch.autograd.grad(log.square().sum(), q, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), (q, k))))
    assert all(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)


def test_slabs_cover_the_matrix_once() -> None:
    for n, m in ((1, 1), (300, 70000), (70000, 300), (65536, 65536), (10**6, 10**4)):
        for triangle in (False, True):
            query = torch.empty(n, 1, device="meta").expand(n, 768)
            key = None if triangle else torch.empty(m, 1, device="meta").expand(m, 768)
            every = slabs.Slabs(game(query, key, 1.0), 2**27, slabs.BF16.product, 132)
            entries = [x.shape[0] * x.shape[1] for x in every]
            assert max(entries) <= 2**27
            assert len(entries) <= 1.5 + 1.4 * n * (n if triangle else m) / 2**27
            assert every.height * every.width <= 2**27 + 2**20
            assert all(x.rows.stop <= x.columns.start for x in every if triangle and not x.diagonal)
            off = sum(e for e, x in zip(entries, every, strict=True) if not x.diagonal)
            assert sum(entries) + (off if triangle else 0) == n * (n if triangle else m)


def test_processors_have_the_same_amount_to_do() -> None:
    for tiles in (6, 90, 96, 132, 258, 1000):
        number = slabs.shares(tiles, 11008, 132)
        assert slabs.parts(tiles * number, 132) * 132 <= 1.5 * tiles * number


def test_an_h100_has_room_for_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled without a GPU: `python tests/loss/compiled.py` does it for all tiles."""
    from compiled import H100, LARGEST, compiled

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for each in LARGEST:
        made = compiled(H100, *each)
        assert made.metadata.shared <= H100.memory
        assert "wgmma" in made.asm["ptx"]
