"""The momentum encoder is the moving average, and nothing of it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nearfar import MomentumEncoder, NearfarError


def encoder(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def move(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn_like(parameter)
        module(torch.randn(5, 3, dtype=torch.float64))


@pytest.mark.parametrize("final", [None, 1.0])
def test_the_average_and_its_schedule(final: float | None) -> None:
    source = encoder()
    slow = MomentumEncoder(source, momentum=0.9, final=final)
    wanted = [p.detach().clone() for p in source.parameters()]
    for step in range(4):
        move(source)
        slow.update(source, progress=step / 4)
        m = 0.9 if final is None else 1 - 0.1 * (math.cos(math.pi * step / 4) + 1) / 2
        wanted = [m * w + (1 - m) * p.detach() for w, p in zip(wanted, source.parameters())]  # noqa: B905
    for w, p in zip(wanted, slow.parameters(), strict=True):
        torch.testing.assert_close(w, p.detach(), rtol=1e-12, atol=1e-12)
    for a, b in zip(slow.module.buffers(), source.buffers(), strict=True):
        assert torch.equal(a, b)  # the integer that counts batches, too


def test_nothing_of_it_learns_and_its_batch_norms_train() -> None:
    source = encoder()
    slow = MomentumEncoder(source)
    assert not any(p.requires_grad for p in slow.parameters())
    assert all(p.requires_grad for p in source.parameters())
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert not slow(x).requires_grad
    assert slow.module.training
    torch.testing.assert_close(slow(x), source(x).detach())
    assert not any(module is source for module in slow.modules())


def test_the_state_is_exact() -> None:
    source, slow = encoder(), MomentumEncoder(encoder(1), momentum=0.9)
    again = MomentumEncoder(encoder(2), momentum=0.9)
    again.load_state_dict(slow.state_dict())
    for one in (slow, again):
        one.update(source)
    for name, value in slow.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_mistakes_are_explained() -> None:
    with pytest.raises(NearfarError, match=r"momentum=1.5: wanted the share of old weights"):
        MomentumEncoder(encoder(), momentum=1.5)
    with pytest.raises(NearfarError, match="final=-1"):
        MomentumEncoder(encoder(), final=-1)
    with pytest.raises(NearfarError, match=r"progress=None.*final=1.0 makes a schedule"):
        MomentumEncoder(encoder(), final=1.0).update(encoder())
    with pytest.raises(NearfarError, match="source has 2 parameters whose shapes are not those"):
        MomentumEncoder(encoder()).update(nn.Linear(3, 4))
    with pytest.raises(NearfarError, match="source is on meta but its momentum encoder is on cpu"):
        MomentumEncoder(encoder()).update(encoder().to("meta"))
