"""Tiles against the stored matrix: the same loss and gradients, and no more products than said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from nearfar import ClipLoss, InfoNCE, NTXentLoss, SupConLoss, Temperature
from nearfar.loss import _tiled, _tiles

Form = Callable[[Tensor, Tensor, Temperature], Tensor]
IDS = torch.arange(23) // 2
FORMS: dict[str, Form] = {
    "one way": lambda q, k, tau: InfoNCE(tau)(q, k),
    "one way, ids": lambda q, k, tau: InfoNCE(tau)(q, k, ids=IDS),
    "one way, decoupled": lambda q, k, tau: InfoNCE(tau, decoupled=True)(q, k),
    "symmetric": lambda q, k, tau: InfoNCE(tau, symmetric=True)(q, k),
    "symmetric, ids": lambda q, k, tau: InfoNCE(tau, symmetric=True)(q, k, ids=IDS),
    "each row": lambda q, k, tau: (
        InfoNCE(tau, reduction="none", symmetric=True)(q, k).square().sum()
    ),
    "clip, not normalised": lambda q, k, tau: ClipLoss()(q, k, 1 / tau()),
    "two views": lambda q, k, tau: NTXentLoss(tau)(q, k),
    "three views, ids": lambda q, k, tau: NTXentLoss(tau)(q, k, q + k, ids=IDS),
    "views, decoupled": lambda q, k, tau: NTXentLoss(tau, decoupled=True)(q, k),
    "labels": lambda q, k, tau: SupConLoss(tau)(q + k, torch.arange(23) % 5),
    "a label alone": lambda q, k, tau: SupConLoss(tau)(q, IDS),
}


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "HEIGHT", 4)
    monkeypatch.setattr(_tiles, "WIDTH", 7)


def outcome(form: Form, tau: float, dtype: torch.dtype) -> list[Tensor]:
    q, k = torch.randn(2, 23, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    q.requires_grad_()
    k.requires_grad_()
    temperature = Temperature(tau, learnable=True).to(dtype)
    loss = form(q, k, temperature)
    inputs = (q, k, temperature.log)
    grads = torch.autograd.grad(loss, inputs, materialize_grads=True, retain_graph=True)
    again = torch.autograd.grad(loss, inputs, materialize_grads=True)
    torch.testing.assert_close(grads, again, rtol=0, atol=0)
    return [loss.detach(), *grads]


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("keep", [0, 2**30])
@pytest.mark.parametrize("tau", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", FORMS)
def test_tiles_equal_the_stored_matrix(
    name: str, tau: float, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiled, "KEEP", keep)
    stored = outcome(FORMS[name], tau, torch.float64)
    monkeypatch.setattr(_tiled, "WINS_FROM", 0)
    torch.testing.assert_close(
        outcome(FORMS[name], tau, torch.float64), stored, rtol=1e-11, atol=1e-11
    )
    for single, exact in zip(outcome(FORMS[name], tau, torch.float32), stored, strict=True):
        error = (single.double() - exact).abs().max() / exact.abs().max().clamp_min(1)
        assert error < (2e-3 if tau < 0.01 else 1e-5)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("triangle", [False, True])
def test_gradients_twice(both: bool, triangle: bool) -> None:
    q, k = torch.randn(2, 9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([0, 0, 1, 2, 3, 4, 4, 4, 5])
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def work(q: Tensor, k: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        sides = _tiled.push(q, None if triangle else k, scale, ids, ids, both=both)
        return tuple(side for side in sides if side is not None)

    inputs = (q.requires_grad_(), k.requires_grad_(not triangle), scale)
    assert torch.autograd.gradcheck(work, inputs)
    assert torch.autograd.gradgradcheck(work, inputs)


@pytest.mark.parametrize(
    ("name", "kept", "again"), [("one way", 3, 4), ("symmetric", 3, 4), ("two views", 6, 8)]
)
def test_products(name: str, kept: int, again: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In units of N x N x d; two views are (2N) x (2N), of which half a unit a product is due."""
    monkeypatch.setattr(_tiled, "WINS_FROM", 0)
    monkeypatch.setattr(_tiles, "HEIGHT", 16)
    n, d = 512, 8
    q, k = torch.randn(2, n, d, requires_grad=True)
    for budget, units in ((2**30, kept), (0, again)):
        monkeypatch.setattr(_tiled, "KEEP", budget)
        with FlopCounterMode(display=False) as counter:
            FORMS[name](q, k, Temperature(0.2)).backward()
        # The triangle's diagonal blocks are computed whole: 16 rows of 1024.
        assert units <= counter.get_total_flops() / (2 * n * n * d) <= units * (1 + 1 / 60)


def test_second_order_of_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiled, "WINS_FROM", 0)
    z = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda z: NTXentLoss(0.5)(z[0], z[1]), (z,))
