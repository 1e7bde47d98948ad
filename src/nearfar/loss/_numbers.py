"""Number formats and lengths: what happens to embeddings before they meet."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.loss._check import traced

# Below this length a row is divided by it instead: a row of zeros stays one.
SHORTEST = 1e-12
# No row that `unit` has scaled is longer, whatever was rounded.
LONGEST = 1.001


_NOTHING = nullcontext()


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast does not reach the matrix products."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else _NOTHING


def working(x: Tensor) -> Tensor:
    """At least float32: logits of half-precision inputs are computed and summed in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def measured(*grads: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The largest of all numbers, 0-dim, and each divided by it.

    What comes in from outside may be small (a loss times 1e-6); divided by a sum of exponentials,
    which may be as large as numbers get, it would be lost. So its size is multiplied last.
    """
    tops = [grad.abs().amax() for grad in grads if grad.numel()]
    top = torch.stack(tops).amax() if tops else grads[0].new_ones(())
    top = top.clamp_min(torch.finfo(top.dtype).tiny)
    return top, tuple(grad / top for grad in grads)


def unit(x: Tensor) -> Tensor:
    """Rows scaled to length one."""
    x = working(x)
    if traced():
        return functional.normalize(x, dim=-1, eps=SHORTEST)
    out: Tensor = _Unit.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Unit(torch.autograd.Function):
    """torch's normalize with a third of the operations: small batches are made of overhead."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(SHORTEST)
        out = x / length
        ctx.save_for_backward(x, out, length)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, out, length = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = functional.normalize(x, dim=-1, eps=SHORTEST)
            (found,) = torch.autograd.grad(again, x, grad, create_graph=True)
            return found
        with exact(x):
            return across(grad, out, length, length > SHORTEST)


def across(grad: Tensor, unit: Tensor, length: Tensor, scaled: Tensor | None = None) -> Tensor:
    """The gradient of rows before they were scaled: what lies along a row is gone.

    Args:
        grad: (N, D) of the scaled rows.
        unit: (N, D) the scaled rows.
        length: (N, 1) what they were divided by.
        scaled: (N, 1) False for a row too short to be scaled, which was divided by a constant;
            None: there is none.
    """
    along = torch.linalg.vecdot(grad, unit).unsqueeze(-1)
    if scaled is not None:
        along *= scaled
    return torch.addcmul(grad, along, unit, value=-1).div_(length)
