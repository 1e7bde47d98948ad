"""All options of info_nce together, against one double loop in float64."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from nearfar import info_nce

N, D, TAU = 5, 3, 0.4
FLAGS = list(itertools.product([False, True], repeat=4))


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_hand(
    q: Tensor,
    k: Tensor,
    extra: list[Tensor] | None,
    in_batch: bool,
    ids: Tensor | None,
    weight: Tensor | None,
    mask: Tensor | None,
    bias: Tensor | None,
    decoupled: bool,
    form: str,
) -> Tensor:
    """Features as given: normalize=False."""
    losses = []
    for i in range(N):
        s = [
            float(q[i] @ k[j]) / TAU + (float(bias[i, j]) if bias is not None else 0.0)
            for j in range(N)
        ]
        w = [float(i == j) for j in range(N)]
        if weight is not None:
            w = [float(weight[i, j] / weight[i].sum()) for j in range(N)]
        push = 0.0
        for j in range(N):
            stands = in_batch
            stands = stands and (mask is None or bool(mask[i, j]))
            stands = stands and (ids is None or bool(ids[i] != ids[j]))
            if w[j] > 0:
                stands = not decoupled
            push += math.exp(s[j]) if stands else 0.0
        if extra is not None:
            push += sum(math.exp(float(q[i] @ e) / TAU) for e in extra[i])
        if form == "in":
            pull = math.log(sum(a * math.exp(b) for a, b in zip(w, s, strict=True)))
        else:
            pull = sum(a * b for a, b in zip(w, s, strict=True))
        losses.append(math.log(push) - pull)
    return torch.tensor(losses, dtype=torch.float64)


def options(ids: bool, weight: bool, mask: bool, bias: bool) -> dict[str, Tensor | None]:
    sparse = torch.eye(N, dtype=torch.float64)
    sparse[0, 1], sparse[1, 0], sparse[3, 2] = 0.5, 2.0, 0.1  # not symmetric
    keep = torch.ones(N, N, dtype=torch.bool)
    keep[0, 4] = keep[2, 2] = keep[3, 1] = False
    return {
        "ids": torch.tensor([7, 8, 7, 9, 8]) if ids else None,
        "weight": sparse if weight else None,
        "mask": keep if mask else None,
        "bias": rows(N, N, seed=3) if bias else None,
    }


@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("negatives", [None, "unpaired", "paired"])
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_every_combination(
    flags: tuple[bool, bool, bool, bool],
    negatives: str | None,
    decoupled: bool,
    form: Literal["out", "in"],
) -> None:
    q, k, given = rows(N, D), rows(N, D, seed=1), options(*flags)
    extra = {None: None, "unpaired": rows(4, D, seed=2), "paired": rows(N, 4, D, seed=2)}[negatives]
    each = None if extra is None else list(extra.expand(N, 4, D))
    for in_batch in (True,) if extra is None else (True, False):
        wanted = by_hand(q, k, each, in_batch, decoupled=decoupled, form=form, **given)
        got = info_nce(
            q,
            k,
            extra,
            TAU,
            "none",
            negatives or "unpaired",  # type: ignore[arg-type]
            in_batch=in_batch,
            decoupled=decoupled,
            form=form,
            normalize=False,
            **given,
        )
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_symmetric_is_both_calls_with_the_roles_exchanged(
    flags: tuple[bool, bool, bool, bool], decoupled: bool, form: Literal["out", "in"]
) -> None:
    q, k, given = rows(N, D), rows(N, D, seed=1), options(*flags)
    turned = {name: x.T if x is not None and x.ndim == 2 else x for name, x in given.items()}
    there = info_nce(q, k, None, TAU, "none", decoupled=decoupled, form=form, **given)
    back = info_nce(k, q, None, TAU, "none", decoupled=decoupled, form=form, **turned)
    got = info_nce(q, k, None, TAU, "none", symmetric=True, decoupled=decoupled, form=form, **given)
    torch.testing.assert_close(got, (there + back) / 2, rtol=1e-12, atol=1e-12)
