"""Whatever multiplies tiles, and wherever they lie, the loss is the same."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nearfar import InfoNCE, NTXentLoss, SigLipLoss, SupConLoss
from nearfar.loss import _room
from nearfar.loss._room import READY, Room
from nearfar.loss.push import (
    Crowd,
    Game,
    _blocks,
    _fused,
    _product,
    _stripes,
    _sums,
    _tiles,
    push,
)

N, D = 256, 64
LABELS = torch.arange(N) // 4
FORMS = {
    "one way": InfoNCE(0.1, backend="tiled"),
    "one way, steep": InfoNCE(0.01, backend="tiled"),
    "symmetric": InfoNCE(0.1, backend="tiled", symmetric=True),
    "two views": NTXentLoss(0.1, backend="tiled"),
    "sigmoid": lambda q, k: SigLipLoss(backend="tiled")(q, k, 10.0, -10.0),
    "labels": lambda q, k: SupConLoss(0.1, form="in", backend="tiled")(q + k, LABELS),
}


def outcome(name: str, *, again: bool = False) -> list[Tensor]:
    q, k = torch.randn(2, N, D, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = FORMS[name](q, k)
    grads = torch.autograd.grad(loss, (q, k), retain_graph=again)
    if again:
        grads = torch.autograd.grad(loss, (q, k))
    return [loss.detach(), *grads]


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("keep", [2**30, 0])
@pytest.mark.parametrize("name", FORMS)
def test_either_library_multiplies(name: str, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = _product.one_dnn()
    if linear is None:
        pytest.skip("this PyTorch has no oneDNN")
    calls = []

    def counted(x: Tensor, y: Tensor) -> Tensor:
        calls.append((x.shape, y.shape))
        return linear(x, y)

    # A fourth of it is what oneDNN takes.
    monkeypatch.setattr(_blocks, "HEIGHT", 256)
    monkeypatch.setattr(_blocks, "WIDTH", 64)
    monkeypatch.setattr(_stripes, "WIDTH", 64)
    monkeypatch.setattr(_stripes, "ROWS", 64)
    monkeypatch.setattr(_sums, "KEEP", keep)
    monkeypatch.setattr(_product, "_ENTRIES", 1)
    monkeypatch.setattr(_product, "_one_dnn", lambda: None)
    wanted = outcome(name)
    monkeypatch.setattr(_product, "_one_dnn", lambda: counted)
    for got, one in zip(outcome(name), wanted, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-5, atol=1e-5 * float(one.norm()))
    assert calls


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("passes", ["numba"], indirect=True)
@pytest.mark.parametrize("keep", [2**30, 0])
@pytest.mark.parametrize("name", [*FORMS, "margin", "ids"])
def test_loops_multiply(name: str, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some of what is left out is listed, some is not, and some lies in no tile but one.
    margin = InfoNCE(0.1, backend="tiled", similarity_margin=0.2)
    ids = partial(InfoNCE(0.1, backend="tiled", symmetric=True), ids=torch.arange(N).clamp_max(250))
    monkeypatch.setitem(FORMS, "margin", margin)
    monkeypatch.setitem(FORMS, "ids", ids)
    monkeypatch.setattr(_blocks, "HEIGHT", 100)
    monkeypatch.setattr(_blocks, "WIDTH", 52)
    monkeypatch.setattr(_sums, "KEEP", keep)
    monkeypatch.setattr(_tiles, "loops_multiply", lambda rows: False)
    wanted = outcome(name)
    monkeypatch.setattr(_tiles, "loops_multiply", lambda rows: True)
    monkeypatch.setattr(_tiles, "similarities", None)
    for got, one in zip(outcome(name), wanted, strict=True):
        torch.testing.assert_close(got, one, rtol=1e-5, atol=1e-5 * float(one.norm()))


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("passes", ["numba"], indirect=True)
@pytest.mark.parametrize("keep", [2**30, 0])
def test_loops_multiply_half_of_bfloat16(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = import_module("nearfar.loss.loops.similarities")
    if not loops.PAIRS:
        pytest.skip("takes a processor with AVX512_BF16")
    exponentiate, squares = loops.exponentiate, []

    def counted(*words: Any, square: bool, **options: Any) -> None:
        squares.append(square)
        exponentiate(*words, square=square, **options)

    monkeypatch.setattr(loops, "exponentiate", counted)
    monkeypatch.setattr(loops, "similarities", None)
    monkeypatch.setattr(_blocks, "ALONE", 100)
    monkeypatch.setattr(_sums, "KEEP", keep)
    monkeypatch.setitem(FORMS, "", NTXentLoss(0.1, backend="tiled", products="bf16"))
    monkeypatch.setattr(_product, "amd", lambda: False)
    wanted = outcome("")
    assert not squares
    monkeypatch.setattr(_product, "amd", lambda: True)
    for got, one in zip(outcome(""), wanted, strict=True):
        torch.testing.assert_close(got, one, rtol=0, atol=4e-3 * float(one.norm()))
    assert squares
    assert all(squares)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("passes", ["numba"], indirect=True)
def test_loops_count_those_who_meet_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "loops_multiply", lambda rows: True)
    rows = torch.randn(N, D, generator=torch.Generator().manual_seed(0)) / 8
    game = Game(query=rows, key=None, scale=torch.tensor(1.0), crowd=Crowd())
    found, _ = push(game, "tiled")
    torch.testing.assert_close(found, (rows @ rows.T).logsumexp(1))


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (torch.zeros(4, 6), "AVX_512"),
        (torch.zeros(4, 6, dtype=torch.bfloat16), "PAIRS"),
        (torch.zeros(4, 5, dtype=torch.bfloat16), None),
        (torch.zeros(6, 4, dtype=torch.bfloat16).T, None),
    ],
)
@pytest.mark.parametrize("known", [[], ["AVX_512"], ["AVX_512", "PAIRS"]])
def test_who_multiplies(
    rows: Tensor, wanted: str | None, known: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    for name in ("AVX_512", "PAIRS"):
        monkeypatch.setattr(f"nearfar.loss.loops.similarities.{name}", name in known)
    monkeypatch.setattr(_product, "amd", lambda: True)
    assert _product.loops_multiply(rows) == (wanted in known)
    with FlopCounterMode(display=False):
        assert not _product.loops_multiply(rows)
    monkeypatch.setattr(_product, "amd", lambda: False)
    assert not _product.loops_multiply(rows)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("passes", ["numba"], indirect=True)
@pytest.mark.parametrize("products", ["exact", "bf16"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_wherever_forces_lie(
    products: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_blocks, "HEIGHT", 128)
    monkeypatch.setattr(_blocks, "WIDTH", 64)
    monkeypatch.setattr(_product, "_one_dnn", lambda: None)
    words = {"backend": "tiled", "products": products}
    loss = InfoNCE(0.1, symmetric=True, **words) if symmetric else NTXentLoss(0.1, **words)
    monkeypatch.setitem(FORMS, "", loss)
    monkeypatch.setattr(_fused, "amd", lambda: False)
    wanted = outcome("")
    monkeypatch.setattr(_fused, "amd", lambda: True)
    for got, one in zip(outcome(""), wanted, strict=True):
        assert torch.equal(got, one)


def test_one_dnn_multiplies_several_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = _product.one_dnn()
    if linear is None:
        pytest.skip("this PyTorch has no oneDNN")
    calls = []

    def counted(x: Tensor, y: Tensor) -> Tensor:
        calls.append(x.ndim)
        return linear(x, y)

    monkeypatch.setattr(_product, "_ENTRIES", 1)
    monkeypatch.setattr(_product, "_one_dnn", lambda: counted)
    query, key, tile = torch.randn(3, 128, 64), torch.randn(3, 192, 64), torch.randn(3, 128, 192)
    rows, columns = torch.ones_like(query), torch.ones_like(key.mT)
    _product.add_product(rows, tile, key, 2.0, first=False)
    torch.testing.assert_close(rows, 1 + 2 * tile @ key, rtol=1e-4, atol=1e-4)
    lying = _product.turned(query, loops=False)
    _product.add_turned(columns, lying, tile, 2.0, first=True)
    torch.testing.assert_close(columns, 2 * query.mT @ tile, rtol=1e-4, atol=1e-4)
    assert calls == [2] * 6


@pytest.mark.parametrize("name", FORMS)
def test_a_second_backward_pass_finds_what_the_first_found(name: str) -> None:
    """Kept tiles serve the first one alone."""
    for got, one in zip(outcome(name, again=True), outcome(name), strict=True):
        assert torch.equal(got, one)


def test_losses_at_once_share_no_room() -> None:
    q, k = torch.randn(2, N, D).requires_grad_()
    form = FORMS["symmetric"]
    wanted = torch.autograd.grad(form(q, k) + form(k * 2, q * 3 + 1), (q, k))
    first, second = form(q, k), form(k * 2, q * 3 + 1)
    parts = [torch.autograd.grad(loss, (q, k)) for loss in (first, second)]
    for whole, *shares in zip(wanted, *parts, strict=True):
        torch.testing.assert_close(whole, sum(shares), rtol=1e-4, atol=1e-6)


def test_room_is_used_again_when_nobody_has_it() -> None:
    room, like = Room(), torch.empty(0)
    first = room.take((1024, 512), like)
    assert first.shape == (1024, 512)
    place, part = first.data_ptr(), first[1:]
    del first
    other = room.take((1024, 512), like)
    assert other.data_ptr() != place
    del part
    # Whose numbers it held is no matter.
    again = room.take((512, 512), like.double())
    assert again.dtype == torch.float64
    assert again.data_ptr() == place
    del other, again
    assert place in [room.take((1024, 512), like).data_ptr() for _ in range(2)]


def test_without_a_count_of_holders_room_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_room, "_HOLDERS", None)
    room = Room()
    assert room.take((1024, 512), torch.empty(0)).shape == (1024, 512)
    assert not room.ready


FREED = """
import resource
import torch
from nearfar.loss._room import keep_freed
keep_freed()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
some = [torch.ones(2**20) for _ in range(6)]
del some
for _ in range(4):
    large, small = torch.ones(4 * 2**20), torch.ones(2**20)
    del large, small
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_was_freed_serves_again() -> None:
    words = {name: x for name, x in os.environ.items() if not name.startswith(("MALLOC", "LD_PRE"))}
    done = subprocess.run(
        [sys.executable, "-c", FREED], env=words, capture_output=True, check=True, timeout=120
    )
    # Pages: of a first large one, and what came before; without, 16,400.
    assert int(done.stdout) < 12000


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("name", FORMS)
def test_room_comes_back_before_garbage_is_collected(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_room, "_PAGE", 4096)
    outcome(name)  # loops are compiled, and their compiler leaves garbage
    _room.ROOM.ready.clear()
    gc.disable()
    try:
        outcome(name)
        assert _room.ROOM.ready
        assert all(memory.free for memory in _room.ROOM.ready)
    finally:
        gc.enable()
        _room.ROOM.ready.clear()


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("name", [*FORMS][:5])
def test_no_tile_waits_for_the_backward_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_room, "_PAGE", 4096)
    _room.ROOM.ready.clear()
    q, k = torch.randn(2, N, 8).requires_grad_()
    loss = FORMS[name](q, k)
    sizes = [(memory.size, memory.free) for memory in _room.ROOM.ready]
    _room.ROOM.ready.clear()
    assert max(sizes)[0] > 4 * N * N
    assert 0 < sum(size for size, free in sizes if not free) < N * N
    loss.backward()


def test_room_of_another_size_is_left() -> None:
    room, like = Room(), torch.empty(0)
    place = room.take(2**20, like).data_ptr()
    assert room.take(2**22, like).shape == (2**22,)
    assert room.take(2**20, like).data_ptr() == place


def test_what_lies_ready_longest_is_let_go() -> None:
    room, like = Room(), torch.empty(0)
    for one in range(6):
        room.take((one + 1) * READY // 64, like)
    sizes = [memory.size for memory in room.ready]
    assert len(sizes) == 3
    assert sizes == sorted(sizes)
    assert sum(sizes) <= READY
    first = room.take(4 * READY // 64, like)
    room.take(READY // 64, like)
    assert [memory.free for memory in room.ready] == [True, False, True]
    assert first.data_ptr() not in {one.storage.data_ptr() for one in room.ready if one.free}


def test_threads_share_room() -> None:
    room, like, wrong = Room(), torch.empty(0), []

    def work(number: int) -> None:
        for turn in range(5_000):
            entries = (1 + (7 * number + turn) % 5) * 2**18
            taken = room.take(entries, like)
            taken[:: 2**18] = number
            wrong.append(taken.numel() != entries or bool((taken[:: 2**18] != number).any()))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(work, range(4)))
    finally:
        sys.setswitchinterval(before)
    assert len(wrong) == 20_000
    assert not any(wrong)


def test_room_made_in_inference_mode_serves_outside() -> None:
    q = torch.randn(N + 1, D)  # of which there is no room yet
    with torch.inference_mode():
        FORMS["one way"](q, q)
    x = q.clone().requires_grad_()
    FORMS["one way"](x, q).backward()
    assert x.grad is not None
