"""Tiles against the stored matrix: the same loss and gradients, and no more products than said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nearfar import (
    ClipLoss,
    InfoNCE,
    NearfarError,
    NTXentLoss,
    SigLipLoss,
    SupConLoss,
    Temperature,
    info_nce,
)
from nearfar.loss import _room, _sigmoid_rule, _small
from nearfar.loss._room import LARGE, ROOM
from nearfar.loss.push import Crowd, Game, _blocks, _stripes, _sums, push

N, D = 23, 6
IDS = torch.arange(N) // 2
GENERATOR = torch.Generator().manual_seed(7)
MASK = torch.rand(N, N, generator=GENERATOR) < 0.7
BIAS = torch.randn(N, N, generator=GENERATOR)
WEIGHT = (torch.rand(N, N, generator=GENERATOR) < 0.2) * torch.rand(N, N, generator=GENERATOR)
WEIGHT += torch.eye(N)
BANK = torch.randn(9, D, generator=GENERATOR)
OWN = torch.randn(N, 4, D, generator=GENERATOR)

Form = Callable[..., Tensor]


def pairs(**options: Any) -> Form:
    """InfoNCE with options, of which tensors go to the call."""
    given = {name: x for name, x in options.items() if isinstance(x, Tensor)}
    fixed = {name: x for name, x in options.items() if not isinstance(x, Tensor)}

    def form(q: Tensor, k: Tensor, tau: Temperature, **engine: str) -> Tensor:
        at = {name: x.to(q.dtype) if x.is_floating_point() else x for name, x in given.items()}
        negatives = at.pop("negative_keys", None)
        return InfoNCE(tau, **fixed, **engine)(q, k, negatives, **at)  # type: ignore[arg-type]

    return form


FORMS: dict[str, Form] = {
    "one way": pairs(),
    "one way, ids": pairs(ids=IDS),
    "one way, decoupled": pairs(decoupled=True),
    "symmetric": pairs(symmetric=True),
    "symmetric, rows weighed": lambda q, k, tau, **engine: (
        InfoNCE(tau, "none", symmetric=True, **engine)(q, k) @ torch.linspace(0, 1, N).to(q.dtype)
    ),
    "symmetric, ids": pairs(symmetric=True, ids=IDS),
    "symmetric, few ids": pairs(symmetric=True, ids=torch.arange(N) % 2),
    "symmetric, mask and bias": pairs(symmetric=True, mask=MASK, bias=BIAS, ids=IDS),
    "weights": pairs(symmetric=True, weight=WEIGHT),
    "weights, decoupled": pairs(weight=WEIGHT, ids=IDS, mask=MASK, decoupled=True),
    "sparse weights": pairs(symmetric=True, weight=WEIGHT.to_sparse()),
    "sparse weights, ids": pairs(symmetric=True, weight=WEIGHT.to_sparse(), ids=IDS, bias=BIAS),
    "sparse weights, decoupled": pairs(weight=WEIGHT.to_sparse(), mask=MASK, decoupled=True),
    "shared negatives": pairs(negative_keys=BANK),
    "bank": pairs(negative_keys=BANK, in_batch=True, ids=IDS, negative_ids=torch.arange(9)),
    "own negatives": pairs(negative_keys=OWN, negative_mode="paired", in_batch=True, ids=IDS),
    "ceilings": pairs(symmetric=True, similarity_margin=-0.3),
    "margin": pairs(symmetric=True, margin=0.2),
    "hard": pairs(symmetric=True, hardness=0.7, ids=IDS),
    "debiased": pairs(negative_keys=BANK, in_batch=True, tau_plus=0.1),
    "debiased and hard": pairs(symmetric=True, tau_plus=0.05, hardness=0.5, mask=MASK),
    "clip, not normalised": lambda q, k, tau, **engine: ClipLoss(**engine)(q, k, 1 / tau()),
    "two views": lambda q, k, tau, **engine: NTXentLoss(tau, **engine)(q, k),
    "three views, ids": lambda q, k, tau, **engine: NTXentLoss(tau, **engine)(q, k, q + k, ids=IDS),
    "views, decoupled": lambda q, k, tau, **engine: NTXentLoss(tau, decoupled=True, **engine)(q, k),
    "labels": lambda q, k, tau, **engine: SupConLoss(tau, **engine)(q + k, torch.arange(N) % 5),
    "labels, in": lambda q, k, tau, **engine: SupConLoss(tau, form="in", **engine)(
        q + k, torch.arange(N) % 5
    ),
    "a label alone": lambda q, k, tau, **engine: SupConLoss(tau, **engine)(q, IDS),
    "a label alone, in": lambda q, k, tau, **engine: SupConLoss(tau, form="in", **engine)(q, IDS),
    "sigmoid": lambda q, k, tau, **engine: SigLipLoss(**engine)(q, k, 1 / tau(), -2.0, ids=IDS),
}


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {"HEIGHT": 9, "WIDTH": 7, "LOWEST": 4, "ALONE": 4}
    for name, size in sides.items():
        monkeypatch.setattr(_blocks, name, size)


def outcome(form: Form, tau: float, dtype: torch.dtype, backend: str) -> list[Tensor]:
    q, k = torch.randn(2, N, D, generator=torch.Generator().manual_seed(0)).to(dtype)
    q.requires_grad_()
    k.requires_grad_()
    temperature = Temperature(tau, learnable=True).to(dtype)
    loss = form(q, k, temperature, backend=backend)
    inputs = (q, k, temperature.log)
    grads = torch.autograd.grad(loss, inputs, materialize_grads=True, retain_graph=True)
    again = torch.autograd.grad(loss, inputs, materialize_grads=True)
    # Of tiles that are computed again, as they are not kept any more.
    torch.testing.assert_close(grads, again)
    return [loss.detach(), *grads]


@pytest.mark.usefixtures("small_tiles", "passes")
@pytest.mark.parametrize("keep", [0, 2**30])
@pytest.mark.parametrize("tau", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", FORMS)
def test_tiles_equal_the_stored_matrix(
    name: str, tau: float, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sums, "KEEP", keep)
    monkeypatch.setattr(_stripes, "STRIPE", 8 * 5 * N)
    stored = outcome(FORMS[name], tau, torch.float64, "dense")
    tiled = outcome(FORMS[name], tau, torch.float64, "tiled")
    for got, wanted in zip(tiled, stored, strict=True):
        size = wanted.abs().max().clamp_min(1.0)
        torch.testing.assert_close(got / size, wanted / size, rtol=0, atol=1e-11)
    for single, exact in zip(
        outcome(FORMS[name], tau, torch.float32, "tiled"), stored, strict=True
    ):
        error = (single.double() - exact).abs().max() / exact.abs().max().clamp_min(1)
        assert error < (2e-3 if tau < 0.01 else 2e-5)


@pytest.mark.parametrize(("few", "large"), [(0, LARGE), (0, 0), (N, LARGE)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("tau", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", FORMS)
def test_one_node_equals_the_stored_matrix(
    name: str, tau: float, dtype: torch.dtype, few: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_small, "FEW", few)
    monkeypatch.setattr(_sigmoid_rule, "FEW", few)
    monkeypatch.setattr(_room, "LARGE", large)
    stored = outcome(FORMS[name], tau, torch.float64, "dense")
    for got, exact in zip(outcome(FORMS[name], tau, dtype, "auto"), stored, strict=True):
        error = (got.double() - exact).abs().max() / exact.abs().max().clamp_min(1)
        assert error < (1e-11 if dtype == torch.float64 else 2e-3 if tau < 0.01 else 2e-5)


@pytest.mark.parametrize(
    "form",
    [
        lambda q, k, engine: InfoNCE(decoupled=True, backend=engine)(q, k),
        lambda q, k, engine: ClipLoss(backend=engine)(q, k, 10.0),
        lambda q, k, engine: NTXentLoss(backend=engine)(q[:512], k[:512]),
        lambda q, k, engine: SupConLoss(backend=engine)(q, torch.arange(1024) % 7),
        lambda q, k, engine: SigLipLoss(backend=engine)(q, k, 10.0, -5.0),
    ],
)
def test_large_matrices_lie_in_memory_that_is_used_again(form: Form) -> None:
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        q, k = (torch.randn(1024, 8, generator=generator).requires_grad_() for _ in range(2))
        before = [id(memory) for memory in ROOM.ready]
        found, wanted = (
            torch.autograd.grad(form(q, k, engine), (q, k), materialize_grads=True)
            for engine in ("auto", "dense")
        )
        for got, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(got, exact, rtol=0, atol=1e-4 * float(exact.abs().max()))
        if seed:
            # The first batch has left enough for the second.
            assert sorted(before) == sorted(id(memory) for memory in ROOM.ready)
            assert any(memory.size >= 4 * 1024**2 for memory in ROOM.ready)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("triangle", [False, True])
def test_gradients_twice(both: bool, triangle: bool) -> None:
    q, k = torch.randn(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([0, 0, 1, 2, 3, 4, 4, 4, 5])
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def work(q: Tensor, k: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        key = None if triangle else k
        crowd = Crowd(row_id=ids, column_id=ids)
        logs = push(Game(query=q, key=key, scale=scale, crowd=crowd, both=both), "tiled")
        return tuple(log for log in logs if log is not None)

    inputs = (q.requires_grad_(), k.requires_grad_(not triangle), scale)
    # The second backward pass has no kept tiles, and those it makes have other sides.
    assert torch.autograd.gradcheck(work, inputs, nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(work, inputs, nondet_tol=1e-12)


@pytest.mark.parametrize("name", ["one way", "two views", "sigmoid", "bank", "labels"])
def test_second_order_of_a_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sums, "KEEP", 0)
    q, k = torch.randn(2, N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    tau = Temperature(0.5).double()
    call = lambda q, k: FORMS[name](q, k, tau, backend="tiled")  # noqa: E731
    inputs = (q.requires_grad_(), k.requires_grad_())
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize(
    ("name", "kept", "again"),
    [("one way", 3, 3), ("symmetric", 3, 4), ("two views", 6, 8), ("labels", 1.5, 2)],
)
def test_products(name: str, kept: int, again: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In units of N x N x d; two views are (2N) x (2N), of which half a unit a product is due."""
    for side in ("HEIGHT", "LOWEST", "HIGHEST"):
        monkeypatch.setattr(_blocks, side, 16)
    n, d = 512, 8
    q, k = torch.randn(2, n, d, requires_grad=True)
    form = FORMS[name]
    if name == "labels":
        form = lambda q, k, tau, **engine: SupConLoss(tau, **engine)(  # noqa: E731
            q + k, torch.arange(n) % 5
        )
    for budget, units in ((2**30, kept), (0, again)):
        monkeypatch.setattr(_sums, "KEEP", budget)
        with FlopCounterMode(display=False) as counter:
            form(q, k, Temperature(0.2), backend="tiled").backward()
        # The triangle's diagonal blocks are computed whole: 16 rows of 512 or 1024.
        assert units <= counter.get_total_flops() / (2 * n * n * d) <= units * (1 + 1 / 32)


def test_sigmoid_products() -> None:
    n, d = 512, 8
    q, k = torch.randn(2, n, d, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        SigLipLoss()(q, k, 10.0, -10.0).backward()
    assert counter.get_total_flops() == 3 * 2 * n * n * d


def test_dense_products() -> None:
    n, d = 64, 8
    q, k = torch.randn(2, n, d, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        info_nce(q, k, symmetric=True, backend="dense").backward()
    assert counter.get_total_flops() == 3 * 2 * n * n * d


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("name", ["one way", "symmetric", "two views", "labels", "sigmoid"])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_bf16_products(name: str, tau: float) -> None:
    if name == "sigmoid":
        tau = 0.1
    q, k = torch.nn.functional.normalize(torch.randn(2, N, 64, generator=GENERATOR), dim=-1)
    k = torch.nn.functional.normalize(q + 0.7 * k, dim=-1)
    found = []
    for products in ("exact", "bf16"):
        x, y = q.clone().requires_grad_(), k.clone().requires_grad_()
        loss = FORMS[name](x, y, Temperature(tau), products=products, backend="tiled")
        found.append([loss.detach(), *torch.autograd.grad(loss, (x, y), allow_unused=True)])
    for exact, rough in zip(*found, strict=True):
        if exact is not None:
            assert 0 < (rough - exact).norm() <= 1e-2 * exact.norm()


def test_small_batches_stay_exact() -> None:
    q, k = torch.randn(2, N, 64, generator=GENERATOR)
    assert torch.equal(info_nce(q, k), info_nce(q, k, products="bf16"))


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("tau", [0.002, 0.006, 0.01, 0.02])
@pytest.mark.parametrize("aligned", [False, True])
def test_low_temperatures_in_float32(tau: float, aligned: bool) -> None:
    """Where a fixed shift underflows, running maxima take over."""
    generator = torch.Generator().manual_seed(3)
    q, k = torch.randn(2, 64, 32, generator=generator)
    if aligned:
        k = q + 0.3 * k
    wanted = outcome_of(q.double(), k.double(), tau, "dense")
    for got, exact in zip(outcome_of(q, k, tau, "tiled"), wanted, strict=True):
        assert (got.double() - exact).norm() <= 1e-3 * exact.norm().clamp_min(1e-6)


def outcome_of(q: Tensor, k: Tensor, tau: float, backend: Any) -> list[Tensor]:
    q, k = q.clone().requires_grad_(), k.clone().requires_grad_()
    loss = info_nce(q, k, temperature=tau, symmetric=True, backend=backend)
    return [loss.detach(), *torch.autograd.grad(loss, (q, k))]


def test_the_choice_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="nearfar.loss"):
        info_nce(torch.eye(4), torch.eye(4))
        info_nce(torch.eye(4), torch.eye(4), margin=0.1)
    assert "dense, in one node, for 4 x 4" in caplog.text
    assert "tiled for 4 x 4; not triton: its kernels run on CUDA" in caplog.text
    assert "tiled elsewhere" in repr(InfoNCE())


def test_a_backend_that_cannot_is_refused() -> None:
    with pytest.raises(NearfarError, match=r"'triton' cannot be used here.*'tiled'"):
        info_nce(torch.eye(4), torch.eye(4), backend="triton")
    with pytest.raises(NearfarError, match=r"'tiled' cannot be used here.*transform.*'dense'"):
        torch.func.grad(lambda x: info_nce(x, torch.eye(4), backend="tiled"))(torch.eye(4))
    with pytest.raises(NearfarError, match="no kernel for the sigmoid"):
        SigLipLoss(backend="triton")(torch.eye(4), torch.eye(4), 1.0)


def test_a_bias_that_learns_gets_its_gradient() -> None:
    bias = torch.zeros(4, 4, requires_grad=True)
    info_nce(torch.eye(4), torch.eye(4), temperature=1.0, bias=bias).backward()
    p = torch.eye(4).softmax(1)
    torch.testing.assert_close(bias.grad, (p - torch.eye(4)) / 4)
