"""Every form of the loss, as a function of queries, keys and temperature.

What else a form needs is made from the number of rows, of numbers that every format holds exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nearfar import ClipLoss, NTXentLoss, SigLipLoss, SupConLoss, info_nce

Form = Callable[..., Tensor]


def rows(n: int = 4, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(*shape: int, seed: int, like: Tensor) -> Tensor:
    """Multiples of 1/32 up to 2; no random numbers, which transforms would ask about."""
    place = torch.arange(math.prod(shape), dtype=torch.float64)
    x = (place * place + seed * (place + 1)).sin()
    return ((x * 64).round() / 32).view(shape).to(like.dtype)


def ids(q: Tensor) -> Tensor:
    """Rows come in pairs."""
    return torch.arange(len(q)) // 2


def bank(q: Tensor) -> Tensor:
    return exact(9, q.shape[1], seed=5, like=q)


def own(q: Tensor) -> Tensor:
    return exact(len(q), 3, q.shape[1], seed=6, like=q)


def weight(q: Tensor) -> Tensor:
    """The diagonal, and a few more."""
    place = torch.arange(len(q))
    return torch.eye(len(q)) + (7 * place[:, None] + 4 * place) % 13 // 12 / 2


def third(q: Tensor, k: Tensor) -> Tensor:
    """Another view: half of either."""
    half = q.shape[1] // 2
    return torch.cat([q[:, :half], k[:, half:]], 1)


def one_way(**options: Any) -> Form:
    """`info_nce` with options, functions of the queries among them."""

    def form(q: Tensor, k: Tensor, t: Tensor, **engine: Any) -> Tensor:
        given = {name: x(q) if callable(x) else x for name, x in options.items()}
        return info_nce(q, k, temperature=t, **given, **engine)

    return form


def labels(**options: Any) -> Form:
    """`SupConLoss` on both together; a label has four rows."""

    def form(q: Tensor, k: Tensor, t: Tensor, **engine: Any) -> Tensor:
        loss = SupConLoss(t, **options, **engine)  # type: ignore[arg-type]
        return loss(torch.cat([q, k]), ids(q).repeat(2))

    return form


FORMS: dict[str, Form] = {
    "one way": one_way(),
    "one way, ids": one_way(ids=ids),
    "symmetric": one_way(symmetric=True),
    "decoupled": one_way(decoupled=True),
    "clip": lambda q, k, t, **engine: ClipLoss(**engine)(q, k, 1 / t),
    "two views": lambda q, k, t, **engine: NTXentLoss(t, **engine)(q, k),
    "three views": lambda q, k, t, **engine: NTXentLoss(t, **engine)(q, k, third(q, k)),
    "labels, out": labels(),
    "labels, in": labels(form="in"),
    "sigmoid": lambda q, k, t, **engine: SigLipLoss(**engine)(q, k, 1 / t, -2.0),
    "shared negatives": one_way(negative_keys=bank),
    "own negatives": one_way(negative_keys=own, negative_mode="paired"),
    "bank": one_way(
        negative_keys=bank, in_batch=True, ids=ids, negative_ids=lambda q: torch.arange(9)
    ),
    "weights": one_way(weight=weight),
    "sparse weights": one_way(weight=lambda q: weight(q).to_sparse(), ids=ids),
    "weights, in": one_way(weight=lambda q: weight(q).to_sparse(), form="in"),
}
# Options that numbers are not promised for one by one.
MORE: dict[str, Form] = {
    "margin": one_way(margin=0.2),
    "ceilings": one_way(similarity_margin=0.1),
    "hard": one_way(hardness=0.5),
    "debiased": one_way(tau_plus=0.01),
}
