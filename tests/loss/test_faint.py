"""Nothing too small to be a normal number meets a product: processors would take 100 times as long.

A trained encoder at CLIP's temperature of 0.01 makes such numbers in almost every place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from forms import FORMS, rows
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar.loss import _small
from nearfar.loss.push import _blocks, _stripes, _sums

N, D = 48, 16
ATEN: Any = torch.ops.aten
PRODUCTS = {ATEN.mm.default, ATEN.mm.out, ATEN.addmm.default, ATEN.addmm.out}
PRODUCTS |= {ATEN.baddbmm.default, ATEN.baddbmm.out}


class Factors(TorchDispatchMode):
    """Looks at what is multiplied.

    Attributes:
        seen: Products.
        faint: Numbers in them that were too small.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = self.faint = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Of few pairs, sparse ones are soon made.
        if func in PRODUCTS and all(x.layout is torch.strided for x in args):
            self.seen += 1
            for x in args[-2:]:
                # Either may be multiplied by it.
                size = x.abs() * float((kwargs or {}).get("alpha", 1))
                self.faint += int(((size > 0) & (size < torch.finfo(x.dtype).tiny)).sum())
        return func(*args, **(kwargs or {}))


def alike(noise: float) -> tuple[Tensor, Tensor]:
    """Pairs, close as a trained encoder puts them."""
    q = rows(N, D)
    return q, q + noise * rows(N, D, 1)


def twins() -> tuple[Tensor, Tensor]:
    """Each of them four times, almost."""
    one = rows(N // 4, D).repeat(4, 1)
    return one + 0.2 * rows(N, D, 1), one + 0.2 * rows(N, D, 2)


@pytest.mark.usefixtures("passes")
@pytest.mark.parametrize("tau", [0.003, 0.007, 0.01])
@pytest.mark.parametrize("engine", ["few", "small", "kept", "again"])
@pytest.mark.parametrize("name", sorted(set(FORMS) - {"own negatives"}))  # vectors, not matrices
def test_products_meet_normal_numbers(
    name: str, engine: str, tau: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled = engine in ("kept", "again")
    if tiled:
        for side, size in {"HEIGHT": 20, "WIDTH": 7, "LOWEST": 5}.items():
            monkeypatch.setattr(_blocks, side, size)
        monkeypatch.setattr(_stripes, "STRIPE", 4 * 5 * N)
        monkeypatch.setattr(_sums, "KEEP", 2**30 if engine == "kept" else 0)
    monkeypatch.setattr(_small, "FEW", N if engine == "few" else 0)
    for q, k in (alike(0.1), alike(0.4), twins()):
        leaves = [x.float().requires_grad_() for x in (q, k)]
        with Factors() as factors:
            loss = FORMS[name](*leaves, torch.tensor(tau), backend="tiled" if tiled else "auto")
            torch.autograd.grad(loss, leaves, allow_unused=True)
        assert factors.seen
        assert not factors.faint
