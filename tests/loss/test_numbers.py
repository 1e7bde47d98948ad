"""Losses and gradients in float32 against float64 on the same inputs, at all temperatures.

The contract is a loss to 1e-5 and gradients to 1e-3, relative. What float32 cannot hold is added,
and nothing else. A logit of size S is known to S times the rounding: ``blur = 4 eps S``. So is the
difference x of a crowd and its positive, of which the loss is log(1 + e^x); its slope is at most
min(1, loss), so that tiny losses are right to their last digits. A loss that is a difference of two
logits (``DIFFERENCES``) is right to ``blur`` alone, and so are the weights in its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from forms import FORMS, rows
from torch import Tensor

from nearfar import ClipLoss, SigLipLoss, info_nce
from nearfar.loss import _small, loops
from nearfar.loss._whole_rules import LogSoftmax
from nearfar.loss.push import _blocks, _stripes, _sums

N, D = 24, 16
EPS = torch.finfo(torch.float32).eps
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
DIFFERENCES = {"decoupled", "three views", "labels, out", "weights", "sparse weights"}
# Not scaled to length one.
AS_GIVEN = {"clip", "sigmoid"}
# Backend, tiles of a few rows, bytes of tiles that are kept.
ENGINES: dict[str, tuple[str, bool, int]] = {
    "few": ("auto", False, 0),
    "small": ("auto", False, 0),
    "tiles kept": ("tiled", True, 2**30),
    "tiles again": ("tiled", True, 0),
    "loops, tiles kept": ("tiled", True, 2**30),
    "loops, tiles again": ("tiled", True, 0),
    "stored": ("dense", False, 0),
}


def outcome(name: str, inputs: tuple[Tensor, ...], backend: str) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    loss = FORMS[name](*leaves, backend=backend)
    assert loss.dtype == torch.promote_types(inputs[0].dtype, torch.float32)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def small_tiles(monkeypatch: pytest.MonkeyPatch, keep: int) -> None:
    sides = {"HEIGHT": 20, "WIDTH": 7, "LOWEST": 5}
    for name, size in sides.items():
        monkeypatch.setattr(_blocks, name, size)
    monkeypatch.setattr(_stripes, "STRIPE", 4 * 3 * N)
    monkeypatch.setattr(_sums, "KEEP", keep)
    monkeypatch.setattr(_sums, "FAR", 0)


def stored_as(x: Tensor, dtype: torch.dtype) -> float:
    """How far the nearest numbers of a format may be from x, in norm."""
    info = torch.finfo(dtype)
    subnormal = info.smallest_normal * info.eps
    return float(x.norm()) * info.eps / 2 + subnormal * math.sqrt(x.numel())


@pytest.mark.parametrize("tau", [1e-3, 0.01, 0.05, 0.2, 1.0, 10.0])
@pytest.mark.parametrize("name", FORMS)
def test_losses_and_gradients_are_right(
    name: str, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dtype in DTYPES:
        for apart in (0.1, None):
            q = rows(N, D)
            k = rows(N, D, 1) if apart is None else q + apart * rows(N, D, 1)
            inputs = (q.to(dtype), k.to(dtype), torch.tensor(tau))
            by_every_engine(name, inputs, monkeypatch, f"{dtype}, apart {apart}")


# Around the temperature where sums of exponentials are as small as they get without a shift.
@pytest.mark.parametrize("tau", [0.0148, 0.0158, 0.02])
@pytest.mark.parametrize("name", FORMS)
def test_keys_that_are_all_far(name: str, tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    one = rows(1, D)
    one /= one.norm()
    q, k = one + 0.03 * rows(N, D, 1), -one + 0.03 * rows(N, D, 2)
    inputs = (q.float(), k.float(), torch.tensor(tau))
    by_every_engine(name, inputs, monkeypatch, "far")


def by_every_engine(
    name: str, inputs: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    wanted = outcome(name, tuple(x.double() for x in inputs), "dense")
    for engine, (backend, small, keep) in ENGINES.items():
        with monkeypatch.context() as patch:
            if small:
                small_tiles(patch, keep)
            patch.setattr(_small, "FEW", N if engine == "few" else 0)
            patch.setattr(loops, "LEAST", 0 if engine.startswith("loops") else 2**62)
            got = outcome(name, inputs, backend)
        compare(name, got, wanted, inputs, f"{engine}, {which}")


def compare(
    name: str, got: list[Tensor], wanted: list[Tensor], inputs: tuple[Tensor, ...], which: str
) -> None:
    q, k, tau = (x.double() for x in inputs)
    lengths = [q.norm(dim=1), k.norm(dim=1)]
    largest = float(lengths[0].max() * lengths[1].max()) if name in AS_GIVEN else 1.0
    largest = largest / float(tau) + (2 if name == "sigmoid" else 0)
    blur, loss = 4 * EPS * largest, abs(float(wanted[0]))
    # A row of the sigmoid loss is a sum of N losses.
    slope = 1.0 if name in DIFFERENCES else min(loss, N if name == "sigmoid" else 1)
    error = abs(float(got[0]) - float(wanted[0]))
    assert error <= 1e-5 * loss + blur * slope + 1e-37, (which, error, loss)
    # Of N rows each brings 1/N of a weight times an embedding.
    pull = math.sqrt(2 / N) / float(tau)
    if name in AS_GIVEN:
        pull *= float(max(x.max() for x in lengths))
    else:
        pull /= float(min(x.min() for x in lengths))
    floors = [pull, pull, largest / float(tau)]
    for what, grad, exact, floor in zip(
        ("q", "k", "tau"), got[1:], wanted[1:], floors, strict=True
    ):
        error = float((grad.double() - exact).norm())
        limit = 1e-3 * float(exact.norm()) + stored_as(exact, grad.dtype) + blur * slope * floor
        assert error <= limit, (which, what, error, float(exact.norm()), limit)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("tau", [0.0125, 0.5])
@pytest.mark.parametrize("keep", [0, 2**30])
@pytest.mark.parametrize("name", FORMS)
def test_a_small_share_of_another_loss(
    name: str, keep: int, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many alike rows: sums of exponentials are large, and what comes in must not drown in them."""
    small_tiles(monkeypatch, keep)
    q = (rows(1, D) + 1e-3 * rows(N, D, 1)).float().requires_grad_()
    k = (rows(1, D) + 1e-3 * rows(N, D, 2)).float().requires_grad_()
    loss = FORMS[name](q, k, torch.tensor(tau), backend="tiled")
    wanted = torch.autograd.grad(loss, (q, k), retain_graph=True, allow_unused=True)
    got = torch.autograd.grad(loss * 2**-40, (q, k), allow_unused=True)
    for found, one in zip(got, wanted, strict=True):
        if found is not None and one is not None:
            limit = 1e-4 * float(one.norm()) + 2**40 * torch.finfo(one.dtype).tiny
            torch.testing.assert_close(found * 2**40, one, rtol=1e-5, atol=limit)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_few_rows_keep_the_digits_of_a_small_loss(reduction: Any) -> None:
    met = set()
    for tau in (0.05, 0.1, 0.15, 0.2):
        q = rows(100, D)
        k = q + 0.1 * rows(100, D, 1)
        exact = info_nce(q, k, temperature=tau, symmetric=True, reduction=reduction)
        got = info_nce(q.float(), k.float(), temperature=tau, symmetric=True, reduction=reduction)
        assert (got.double() - exact).norm() <= 1e-5 * exact.norm()
        mean = float(exact.sum()) / (1 if reduction == "mean" else 100)
        met.add(mean >= LogSoftmax.low)
    assert met == {True, False}


@pytest.mark.parametrize("number", [-150.0, -104.0, -65.0, 65.0, 150.0])
@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_a_constant_added_to_a_row_cancels(backend: Any, number: float) -> None:
    q, k, bias = rows(N, D).float(), rows(N, D, 1).float(), torch.zeros(N, N)
    bias[2] = number

    def found(bias: Tensor | None) -> tuple[Tensor, ...]:
        leaf = q.clone().requires_grad_()
        loss = info_nce(leaf, k, temperature=0.5, bias=bias, backend=backend)
        return loss.detach(), *torch.autograd.grad(loss, leaf)

    for got, wanted in zip(found(bias), found(None), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
def test_half_precision_numbers_are_used_in_float32(backend: Any) -> None:
    """A reciprocal in half precision would be off by 2e-4."""
    q, k = rows(N, D).half(), rows(N, D, 1).half()

    def check(loss: Callable[..., Tensor], *numbers: Tensor) -> None:
        got = loss(q, k, *numbers)
        wanted = loss(q.double(), k.double(), *(x.double() for x in numbers))
        assert abs(got.item() - wanted.item()) <= 1e-5 * wanted.item()

    for name in FORMS.keys() - AS_GIVEN:
        check(partial(FORMS[name], backend=backend), torch.tensor(0.07).half())
    scale, bias = torch.tensor(14.3).half(), torch.tensor(-3.3).half()
    check(ClipLoss(backend=backend), scale)
    check(SigLipLoss(backend=backend), scale, bias)
    weight = rows(N, N, 2).abs().half()
    check(lambda q, k, w: info_nce(q, k, weight=w, backend=backend), weight)
