"""First and second derivatives, by whatever graph the inputs come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from forms import FORMS, MORE, rows
from torch import Tensor

from nearfar import ClipLoss, InfoNCE, NTXentLoss, SigLipLoss, info_nce
from nearfar.loss.push import _stripes, _sums

EVERY = FORMS | MORE


def tau() -> Tensor:
    return torch.tensor(0.4, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("form", EVERY)
def test_first_and_second_derivatives_with_the_temperature(form: str) -> None:
    inputs = (rows().requires_grad_(), rows(seed=1).requires_grad_(), tau())
    assert torch.autograd.gradcheck(EVERY[form], inputs)
    assert torch.autograd.gradgradcheck(EVERY[form], inputs, fast_mode=True)


def test_push_and_pull_are_the_gradient() -> None:
    q, k = rows().requires_grad_(), rows(seed=1)
    info_nce(q, k, temperature=0.2, normalize=False, reduction="sum").backward()
    p = (q @ k.T / 0.2).softmax(1)
    torch.testing.assert_close(q.grad, (p @ k - k) / 0.2)


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
@pytest.mark.parametrize("form", EVERY)
def test_second_derivatives_where_one_side_learns(form: str, backend: str) -> None:
    q, k = rows(6).requires_grad_(), rows(6, seed=1)

    def bent(key: Tensor) -> Tensor:
        loss = EVERY[form](q, key, tau(), backend=backend)
        (grad,) = torch.autograd.grad(loss, q, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), q)[0]

    torch.testing.assert_close(bent(k), bent(k.clone().requires_grad_()))


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
@pytest.mark.parametrize("form", EVERY)
def test_create_graph_changes_no_gradient(
    form: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys may be made of the queries, or be the queries: no path counts twice."""
    monkeypatch.setattr(_sums, "KEEP", 0)
    monkeypatch.setattr(_stripes, "STRIPE", 8 * 6)

    def grads(key: Any, create_graph: bool) -> tuple[Tensor, ...]:
        q, t = rows(6).requires_grad_(), tau()
        loss = EVERY[form](q, key(q), t, backend=backend)
        return torch.autograd.grad(loss, (q, t), create_graph=create_graph)

    for key in (lambda q: q, lambda q: q.sin() + rows(6, seed=1)):
        torch.testing.assert_close(grads(key, True), grads(key, False), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
@pytest.mark.parametrize("form", EVERY)
def test_a_graph_that_is_kept_gives_the_same_again(form: str, backend: str) -> None:
    q, k, t = rows(6).requires_grad_(), rows(6, seed=1).requires_grad_(), tau()
    first, second = (EVERY[form](q, k, t, backend=backend) for _ in range(2))
    assert torch.equal(first, second)
    once = torch.autograd.grad(first, (q, k, t), retain_graph=True)
    again = torch.autograd.grad(first, (q, k, t))
    doubled = torch.autograd.grad(2 * second, (q, k, t))
    torch.testing.assert_close(again, once, rtol=0, atol=0)
    torch.testing.assert_close(doubled, tuple(2 * x for x in once))


def test_a_small_weight_of_the_loss_is_not_lost() -> None:
    """Beside sums as large as numbers get: all rows alike, at a low temperature."""
    alike = rows(1, 32) + 0.15 * torch.cat([rows(64, 32, 1), rows(64, 32, 2)])
    q, k = alike.float().chunk(2)
    for reduction in ("mean", "none"):
        grads = []
        for factor in (1.0, 1e-9):
            x = q.clone().requires_grad_()
            loss = info_nce(x, k, temperature=0.0125, reduction=reduction).mean()  # type: ignore[arg-type]
            grads.append(torch.autograd.grad(factor * loss, x)[0] / factor)
        torch.testing.assert_close(grads[1], grads[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("loss", "size"),
    [
        (lambda q, k: InfoNCE(1.0)(q, k), 2.0**12),
        (lambda q, k: NTXentLoss(1.0)(q, k), 2.0**12),
        (lambda q, k: ClipLoss()(q, k, 1.0), 2.0**-12),
        (lambda q, k: SigLipLoss()(q, k, 1.0, -1.0), 2.0**-12),
    ],
)
def test_a_loss_that_is_lifted_lifts_gradients_before_they_are_rounded(
    loss: Callable[[Tensor, Tensor], Tensor], size: float
) -> None:
    """float16 has few digits below 6e-5: mixed precision multiplies the loss against that."""
    q, k = ((size * rows(64, seed=seed)).half() for seed in (0, 1))
    found, wanted = (
        torch.autograd.grad(2.0**10 * loss(*inputs), inputs)
        for inputs in (
            [x.clone().requires_grad_() for x in (q, k)],
            [x.double().requires_grad_() for x in (q, k)],
        )
    )
    for got, exact in zip(found, wanted, strict=True):
        assert exact.abs().max() < 2**10 * 6e-5
        assert (got.double() - exact).norm() < 1e-3 * exact.norm()
