"""Loops over rows, each against the same in a line of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

pytest.importorskip("numba")
# Shapes of which sixteen is no divisor, and one of which it is.
SHAPES = ((37, 29), (64, 48), (1, 16))


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def loops(name: str) -> Any:
    return import_module(f"nearfar.loss.loops.{name}")


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("sides", [1, 2])
def test_contrast(sides: int, decoupled: bool) -> None:
    sums = torch.randn(sides, 53).mul_(20).exp2().requires_grad_()
    positive = torch.randn(53).mul_(30).requires_grad_()
    gap = sums.double().log() - positive.double()
    wanted = 0.25 * (gap if decoupled else torch.nn.functional.softplus(gap, threshold=200)).sum()
    by_sums, by_positive = torch.autograd.grad(wanted, (sums, positive))
    grad, weights = torch.empty(53), torch.empty(sides * 53)
    words = sums, positive, decoupled, 0.25, grad
    assert loops("rows").contrast(*words, weights) == pytest.approx(wanted.item(), rel=1e-9)
    assert_close(grad, by_positive)
    assert_close(0.25 * weights.view_as(by_sums), by_sums)
    assert loops("rows").contrast(*words, None) == pytest.approx(wanted.item(), rel=1e-9)


def test_contrast_of_cohorts() -> None:
    sums, positive = torch.randn(53).exp2().requires_grad_(), torch.randn(7)
    some, weights = torch.arange(53) % 5 > 1, torch.empty(53)
    wanted = (sums.double().log() + 3)[some].sum() - positive.sum()
    (by_sums,) = torch.autograd.grad(wanted, sums)
    words = sums, some, 3.0, positive
    assert loops("cohorts").contrast(*words, weights) == pytest.approx(wanted.item(), rel=1e-6)
    assert_close(weights, by_sums)
    assert loops("cohorts").contrast(*words, None) == pytest.approx(wanted.item(), rel=1e-6)


def test_rows_that_meet() -> None:
    a, b, out = torch.randn(37, 29), torch.randn(37, 29), torch.empty(37)
    tops = loops("rows").meet(a, b, out)
    assert_close(out, (a * b).sum(1), rtol=1e-5, atol=1e-5)
    assert tops == pytest.approx([x.square().sum(1).max().item() for x in (a, b)], rel=1e-5)


def test_rows_that_a_label_gathers() -> None:
    x, label = torch.randn(37, 29), torch.arange(37) ** 2 % 7
    share, sums, similarity = torch.rand(7), torch.zeros(7, 29), torch.empty(7)
    loops("cohorts").gather(x, label, share, sums, similarity)
    assert_close(sums, torch.zeros_like(sums).index_add(0, label, x))
    together = (label[:, None] == label).fill_diagonal_(False)
    each = torch.where(together, x @ x.T, 0.0).sum(1)
    wanted = share * torch.zeros(7).index_add(0, label, each)
    assert_close(similarity, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_transpose(shape: tuple[int, int], dtype: torch.dtype) -> None:
    rows = torch.randn(shape).to(dtype)
    out = torch.empty_like(rows.T, memory_format=torch.contiguous_format)
    loops("columns").transpose(rows, out)
    assert torch.equal(out, rows.T)
    # Several, with and without rows between them.
    several = torch.randn(5 * shape[0], shape[1]).to(dtype).view(5, *shape)[:: shape[0] % 2 + 1]
    out = torch.empty_like(several.mT, memory_format=torch.contiguous_format)
    loops("columns").transpose(several, out)
    assert torch.equal(out, several.mT)


def lying(rows: int, columns: int) -> Tensor:
    """As keys' gradients lie: lines are further apart than they are long."""
    return torch.randn(columns, rows + 3)[:, :rows]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_draw(shape: tuple[int, int], turned: bool) -> None:
    to, other, share, weight = torch.randn(shape), torch.randn(shape), *torch.randn(2, shape[0])
    part = lying(*shape) if turned else None
    pull = weight[:, None] * other + (0.0 if part is None else part.T)
    for own, fresh in ((None, False), (share, False), (None, True)):
        found = to.clone()
        loops("pulls").draw(found, own, weight, other, part, fresh=fresh)
        before = 0.0 if fresh else to if own is None else own[:, None] * to
        assert_close(found, before + pull)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attract(shape: tuple[int, int], turned: bool) -> None:
    to, itself, label = torch.randn(shape), torch.randn(shape), torch.arange(shape[0]) % 5
    sums, weight = torch.randn(5, shape[1]), torch.randn(5)
    part = lying(*shape) if turned else None
    wanted = to + weight[label, None] * (sums[label] - itself) + (0.0 if part is None else part.T)
    loops("pulls").attract(to, weight, sums, label, itself, part)
    assert_close(to, wanted)
