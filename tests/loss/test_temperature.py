from __future__ import annotations

from typing import Any

import pytest
import torch

from nearfar import ClipLoss, InfoNCE, NearfarError, SigLipLoss, Temperature, info_nce


def test_learnable_is_clamped_and_comes_back() -> None:
    temperature = Temperature(0.1, learnable=True, minimum=0.05, maximum=1.0)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=100.0)
    temperature().backward()
    optimizer.step()  # far below the minimum
    assert temperature().item() == pytest.approx(0.05)
    optimizer.zero_grad()
    temperature().backward()
    assert temperature.log.grad is not None
    assert temperature.log.grad.item() > 0  # the gradient is alive at the bound


def test_it_reaches_the_loss_and_the_state() -> None:
    loss = InfoNCE(Temperature(0.07, learnable=True))
    loss(torch.eye(4), torch.eye(4)).backward()
    (log,) = loss.parameters()
    assert log.grad is not None
    assert log.grad.item() > 0
    other = InfoNCE(Temperature(0.5, learnable=True))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(next(other.parameters()), log)
    assert "learnable" in repr(loss)


def test_graphs_that_were_built_before_stay() -> None:
    loss = InfoNCE(Temperature(0.1, learnable=True))
    (log,) = loss.parameters()
    penalty = log.pow(2)
    (loss(torch.eye(4), torch.eye(4)) + penalty).backward()
    assert log.grad is not None
    assert log.grad.isfinite()


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
def test_a_less_precise_temperature_is_the_same_to_every_backend(backend: Any) -> None:
    q, k = torch.randn(2, 50, 8, generator=torch.Generator().manual_seed(0)).double()
    for tau in (torch.tensor(0.07), torch.tensor(0.07).half()):
        exact = info_nce(q, k, temperature=float(tau), backend="dense")
        got = info_nce(q, k, temperature=tau, backend=backend)
        torch.testing.assert_close(got, exact, rtol=1e-13, atol=0)
        scale, bias = 1 / tau.float(), torch.tensor(-3.0)
        for loss, more in ((ClipLoss, ()), (SigLipLoss, (bias,))):
            exact = loss(backend="dense")(q, k, scale.double(), *more)
            got = loss(backend=backend)(q, k, scale, *more)
            torch.testing.assert_close(got, exact, rtol=1e-13, atol=0)


def test_schedule_is_a_cosine_in_log_space() -> None:
    temperature = Temperature(1.0, final=0.01)
    seen = []
    for progress in (0.0, 0.5, 1.0):
        temperature.advance(progress)
        seen.append(temperature().item())
    assert seen == pytest.approx([1.0, 0.1, 0.01])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Temperature(0.0),
        lambda: Temperature(float("nan")),
        lambda: Temperature(0.1, final=0.2, learnable=True),
        lambda: Temperature(0.1, minimum=0.2),
        lambda: InfoNCE(-1.0)(torch.eye(2), torch.eye(2)),
    ],
)
def test_bad_temperatures_are_refused(make: object) -> None:
    with pytest.raises(NearfarError):
        make()  # type: ignore[operator]
