"""Gradients, transforms, number formats and properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nearfar import ClipLoss, InfoNCE, NTXentLoss, SupConLoss, Temperature, info_nce


def rows(n: int = 4, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 1, 0, 1])
FORMS = {
    "one way": lambda q, k, t: info_nce(q, k, temperature=t),
    "symmetric": lambda q, k, t: info_nce(q, k, temperature=t, symmetric=True),
    "ids": lambda q, k, t: info_nce(q, k, temperature=t, ids=LABELS),
    "decoupled": lambda q, k, t: info_nce(q, k, temperature=t, decoupled=True),
    "negatives": lambda q, k, t: info_nce(q, k, k.flip(0) * 2 + q, t),
    "clip": lambda q, k, t: ClipLoss()(q, k, 1 / t),
    "nt-xent": lambda q, k, t: NTXentLoss(t)(q, k),
    "sup-con out": lambda q, k, t: SupConLoss(t)(q + k, LABELS),
    "sup-con in": lambda q, k, t: SupConLoss(t, form="in")(q + k, LABELS),
}


@pytest.mark.parametrize("form", FORMS)
def test_first_and_second_derivatives_with_the_temperature(form: str) -> None:
    inputs = (rows(), rows(seed=1), torch.tensor(0.4, dtype=torch.float64))
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(FORMS[form], inputs)
    assert torch.autograd.gradgradcheck(FORMS[form], inputs)


def test_push_and_pull_are_the_gradient() -> None:
    q, k = rows().requires_grad_(), rows(seed=1)
    info_nce(q, k, temperature=0.2, normalize=False, reduction="sum").backward()
    p = (q @ k.T / 0.2).softmax(1)
    torch.testing.assert_close(q.grad, (p @ k - k) / 0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tau", [1e-3, 0.07, 10.0])
@pytest.mark.parametrize("aligned", [True, False])
def test_low_precision_inputs_give_a_right_float32_loss(
    dtype: torch.dtype, tau: float, aligned: bool
) -> None:
    q = rows(64, 32).to(dtype)
    k = (q + 0.1 * rows(64, 32, 1).to(dtype)) if aligned else rows(64, 32, 1).to(dtype)
    q.requires_grad_()
    got = info_nce(q, k, temperature=tau)
    got.backward()
    wanted = info_nce(q.detach().double(), k.double(), temperature=tau)
    assert got.dtype == torch.float32
    assert q.grad is not None
    assert bool(q.grad.isfinite().all())
    assert abs(got.item() - wanted.item()) <= 1e-5 * max(1.0, abs(wanted.item()))


def test_autocast_does_not_reach_the_logits() -> None:
    q, k = rows(16, 8).float(), rows(16, 8, 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = info_nce(q, k, temperature=0.05)
    assert inside.item() == info_nce(q, k, temperature=0.05).item()


def test_transforms() -> None:
    q, k = rows(), rows(seed=1)
    grad = torch.func.grad(lambda x: info_nce(x, k))(q)
    x = q.clone().requires_grad_()
    info_nce(x, k).backward()
    torch.testing.assert_close(grad, x.grad)
    several = torch.func.vmap(lambda x: info_nce(x, k))(torch.stack([q, 2 * k]))
    torch.testing.assert_close(several, torch.stack([info_nce(q, k), info_nce(2 * k, k)]))
    compiled = torch.compile(info_nce, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k), info_nce(q, k))


def test_half_precision_scale_and_weight_are_used_in_float32() -> None:
    q, k = rows(32, 16).half(), rows(32, 16, 1).half()
    scale = torch.tensor(14.3).half()
    got, wanted = ClipLoss()(q, k, scale), ClipLoss()(q.double(), k.double(), scale.double())
    assert abs(got.item() - wanted.item()) <= 1e-6 * wanted.item()
    weight = rows(32, 32, 2).abs().half()
    got = info_nce(q, k, weight=weight)
    wanted = info_nce(q.double(), k.double(), weight=weight.double())
    assert abs(got.item() - wanted.item()) <= 1e-6 * wanted.item()


def test_compiled_learned_temperature_gets_its_gradient() -> None:
    grads = []
    for compiled in (False, True):
        temperature = Temperature(0.3, learnable=True)
        loss = InfoNCE(temperature)
        call = torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss
        call(rows().float(), rows(seed=1).float()).backward()
        grads.append(temperature.log.grad)
    torch.testing.assert_close(grads[0], grads[1])


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 9), seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_properties(n: int, seed: int, scale: float) -> None:
    q, k = rows(n, 5, seed), rows(n, 5, seed + 1)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    loss = info_nce(q, k, reduction="none")
    torch.testing.assert_close(info_nce(q[order], k[order], reduction="none"), loss[order])
    torch.testing.assert_close(info_nce(scale * q, k, reduction="none"), loss)
    assert bool((loss >= 0).all())
    # The crowd may be split: logaddexp of the parts is the whole.
    s = torch.nn.functional.normalize(q) @ torch.nn.functional.normalize(k).T / 0.1
    parts = torch.logaddexp(s[:, :1].logsumexp(1), s[:, 1:].logsumexp(1))
    torch.testing.assert_close(parts - s.diagonal(), loss)
