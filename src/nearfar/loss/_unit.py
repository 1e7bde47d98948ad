"""Rows scaled to length one, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.loss._check import many, traced
from nearfar.loss._numbers import exact, working
from nearfar.loss._room import ROOM
from nearfar.loss.loops import ready

# Below this length a row is divided by it instead: a row of zeros stays one.
SHORTEST = 1e-12
# No product of two rows that `unit` has scaled is above this, before they are rounded to bfloat16.
HIGHEST = 1.002


def unit(*views: Tensor) -> Tensor:
    """Rows scaled to length one, (views * N, D), view after view.

    Args:
        views: (N, D) each; a single one may have more dimensions in front, and keeps them.
    """
    views = tuple(map(working, views))
    if traced():
        return torch.cat([functional.normalize(x, dim=-1, eps=SHORTEST) for x in views])
    first = views[0]
    if first.ndim != 2:
        return unit(first.flatten(0, -2)).view(first.shape)
    out: Tensor = _Unit.apply(*views)  # type: ignore[no-untyped-call]
    return out


class _Unit(torch.autograd.Function):
    """torch's normalize by fewer operations, in memory that is used again."""

    @staticmethod
    def forward(ctx: Any, *views: Tensor) -> Any:
        total = sum(len(x) for x in views)
        out = ROOM.take((total, views[0].shape[1]), views[0])
        length = out.new_empty(total, 1)
        for part in zip(views, *_split(views, out, length), strict=True):
            _scale(*part)
        ctx.save_for_backward(*views, length, out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        *views, length, out = ctx.saved_tensors
        if torch.is_grad_enabled():
            parts = zip(views, *_split(views, grad), strict=True)
            return tuple(
                _differentiable(*part) if part[0].requires_grad else None for part in parts
            )
        parts = zip(*_split(views, grad, out, length), strict=True)
        return tuple(_across(*part) for part in parts)


def _split(views: Sequence[Tensor], *wholes: Tensor) -> list[tuple[Tensor, ...]]:
    """Each view's rows of what has all of them."""
    return [torch.split(whole, [len(x) for x in views]) for whole in wholes]


def _differentiable(x: Tensor, grad: Tensor) -> Tensor:
    again = functional.normalize(x, dim=1, eps=SHORTEST)
    return torch.autograd.grad(again, x, grad, create_graph=True)[0]


def _scale(x: Tensor, out: Tensor, length: Tensor) -> None:
    if ready(x, len(x) ** 2):
        from nearfar.loss.loops import rows

        rows.unit(x.contiguous(), SHORTEST, out, length)
        return
    torch.linalg.vector_norm(x, dim=1, keepdim=True, out=length).clamp_min_(SHORTEST)
    torch.div(x, length, out=out)


def _across(grad: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    if not many(grad) and ready(grad, len(grad) ** 2):
        from nearfar.loss.loops import rows

        found = ROOM.take(grad.shape, grad)
        rows.across(grad.contiguous(), unit, length, SHORTEST, found)
        return found
    # A row too short was divided by a constant.
    with exact(unit):
        along = torch.linalg.vecdot(grad, unit).unsqueeze(-1).mul_(length > SHORTEST)
    return torch.addcmul(grad, along, unit, value=-1).div_(length)


# Weight normalisation is the same formula, and PyTorch has it as one kernel each way.
_FORTH = torch.ops.aten._weight_norm_interface.default
_BACK = torch.ops.aten._weight_norm_interface_backward.default


def scaled(x: Tensor, one: Tensor) -> tuple[Tensor, Tensor] | None:
    """(N, D) rows scaled to length ``one``, and their lengths (N, 1); None if one is too short.

    Args:
        x: (N, D).
        one: (N, 1) ones.
    """
    if not x.numel():  # which the kernel would divide by
        return None
    found: tuple[Tensor, Tensor] = _FORTH(x.contiguous(), one, 0)
    return found if found[1].min().item() > SHORTEST else None


def across(grad: Tensor, x: Tensor, length: Tensor, one: Tensor) -> Tensor:
    """The gradient of rows before `scaled`: what lies along a row is gone.

    Args:
        grad: (N, D) of the scaled rows.
        x: (N, D) the rows themselves.
        length: (N, 1) theirs.
        one: (N, 1) ones.
    """
    found: Tensor = _BACK(grad.contiguous(), x.contiguous(), one, length, 0)[0]
    return found
