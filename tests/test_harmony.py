"""Harmony of two objectives: closed forms, and nothing of the step is touched."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from nearfar import NearfarError, info_nce
from nearfar.anatomy._harmony import HarmonyRecord, harmony
from nearfar.loss.push import Backend


class Two(nn.Module):
    """A shared body and a head for each objective."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8))
        self.labels, self.unused = nn.Linear(8, 3), nn.Linear(8, 2)

    def losses(self, x: Tensor, y: Tensor, backend: Backend = "auto") -> tuple[Tensor, Tensor]:
        z = self.body(x)
        a, b = z.chunk(2)
        own = nn.functional.cross_entropy(self.labels(z), y)
        return info_nce(a, b, temperature=0.2, backend=backend), own


def small() -> tuple[Two, Tensor, Tensor]:
    torch.manual_seed(0)
    return Two().double(), torch.randn(12, 5, dtype=torch.float64), torch.arange(12) % 3


def flat(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    found = torch.autograd.grad(loss, parameters, retain_graph=True)
    return torch.cat([x.flatten() for x in found])


def test_cosines_and_lengths_are_those_of_the_gradients() -> None:
    model, x, y = small()
    contrast, labels = model.losses(x, y)
    found = harmony({"contrast": contrast, "labels": labels}, model.named_parameters())
    assert found.names == ("contrast", "labels")
    assert list(found.layers) == ["body.0", "body.2"]  # neither head is shared
    groups = {
        "": (found, list(model.body.parameters())),
        "body.0": (found.layers["body.0"], list(model.body[0].parameters())),
        "body.2": (found.layers["body.2"], list(model.body[2].parameters())),
    }
    for accord, parameters in groups.values():
        g, h = flat(contrast, parameters), flat(labels, parameters)
        cosine = (g @ h / (g.norm() * h.norm())).item()
        assert accord.cosine == pytest.approx(cosine, abs=1e-12)
        assert accord.norms == pytest.approx((g.norm().item(), h.norm().item()), rel=1e-12)
        assert accord.ratio == pytest.approx((g.norm() / h.norm()).item(), rel=1e-12)
        assert accord.conflict == (cosine < 0)


@pytest.mark.parametrize("backend", ["auto", "tiled"])
def test_the_step_goes_on_as_if_nobody_had_looked(backend: Backend) -> None:
    grads = []
    for look in (False, True):
        model, x, y = small()
        model.unused.weight.grad = torch.ones_like(model.unused.weight)
        a, b = model.losses(x, y, backend)
        if look:
            harmony((a, b), dict(model.named_parameters()))
            assert all(
                p.grad is None for name, p in model.named_parameters() if name != "unused.weight"
            )
            assert bool((model.unused.weight.grad == 1).all())
        (a + b).backward()
        grads.append([p.grad for p in model.body.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


def test_a_temperature_lengthens_the_gradient_and_turns_nothing() -> None:
    w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    along = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    for angle in (0.0, 1.0, math.pi / 2, 3.0, math.pi):
        other = torch.tensor([math.cos(angle), math.sin(angle) * math.sqrt(2), math.cos(angle)])
        found = harmony((w @ along / 0.1, w @ other.double()), {"w": w})
        assert found.cosine == pytest.approx(math.cos(angle), abs=1e-6)
        assert found.ratio == pytest.approx(10, rel=1e-6)
        assert list(found.layers) == [""]


def test_a_zero_gradient_neither_agrees_nor_conflicts() -> None:
    w = nn.Parameter(torch.ones(2))
    found = harmony((w.sum(), 0 * w.sum()), {"w": w})
    assert (found.cosine, found.ratio, found.conflict) == (0.0, math.inf, False)


def test_shares_over_time_and_the_floor() -> None:
    """Cosines of two batches of one objective shrink as |m|^2 / (|m|^2 + s^2)."""
    torch.manual_seed(0)
    dim, noise = 4000, 3.0
    w = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
    true = torch.ones(dim, dtype=torch.float64)
    record = HarmonyRecord()
    assert record.floor_cosine is record.floor_conflicts is None
    assert math.isnan(record.conflicts)
    for step in range(20):
        a, b, c = (w @ (true + noise * torch.randn(dim, dtype=torch.float64)) for _ in range(3))
        sign = -1 if step % 4 == 0 else 1
        record.add(harmony((a, sign * c), {"w": w}), floor=harmony((a, b), {"w": w}))
    assert record.floor_cosine == pytest.approx(1 / (1 + noise**2), abs=0.02)
    assert record.floor_conflicts == 0
    assert record.conflicts == 0.25
    assert record.cosine == pytest.approx(0.5 / (1 + noise**2), abs=0.02)
    assert record.layer_conflicts() == {"": 0.25}


def test_layers_are_counted_where_they_take_part() -> None:
    v, w = (nn.Parameter(torch.ones(2)) for _ in range(2))
    named = {"first.v": v, "second.w": w}
    record = HarmonyRecord()
    record.add(harmony((v.sum(), -v.sum()), named))
    record.add(harmony((v.sum() + w.sum(), v.sum() - w.sum()), named))
    assert record.layer_conflicts() == {"first": 0.5, "second": 1.0}


def test_bad_input_is_named() -> None:
    v, w = (nn.Parameter(torch.ones(2)) for _ in range(2))
    with pytest.raises(NearfarError, match="losses are 3"):
        harmony((v.sum(), v.sum(), v.sum()), {"v": v})
    with pytest.raises(NearfarError, match=r"losses\['first'\] has shape \(2,\)"):
        harmony((2 * v, v.sum()), {"v": v})
    with pytest.raises(NearfarError, match="requires_grad=False"):
        harmony((v.sum(), torch.zeros(())), {"v": v})
    with pytest.raises(NearfarError, match="none that both 'first' and 'second' reach"):
        harmony((v.sum(), w.sum()), {"v": v, "w": w})
    with pytest.raises(NearfarError, match="none with requires_grad"):
        harmony((v.sum(), v.sum()), {"x": torch.ones(2)})
