"""Number formats and lengths: what happens to embeddings before they meet."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.loss._check import traced

# Below this length a row is divided by it instead: a row of zeros stays one.
_SHORTEST = 1e-12
# No row that `unit` has scaled is longer, whatever was rounded.
LONGEST = 1.001


def working(x: Tensor) -> Tensor:
    """At least float32: logits of half-precision inputs are computed and summed in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def unit(x: Tensor) -> Tensor:
    """Rows scaled to length one."""
    x = working(x)
    if traced():
        return functional.normalize(x, dim=-1, eps=_SHORTEST)
    out: Tensor = _Unit.apply(x)  # type: ignore[no-untyped-call]
    return out


class _Unit(torch.autograd.Function):
    """torch's normalize with a third of the operations: small batches are made of overhead."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(_SHORTEST)
        out = x / length
        ctx.save_for_backward(x, out, length)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, out, length = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = functional.normalize(x, dim=-1, eps=_SHORTEST)
            (found,) = torch.autograd.grad(again, x, grad, create_graph=True)
            return found
        along = torch.linalg.vecdot(grad, out).unsqueeze(-1)
        # A row below the shortest length is only divided: nothing is taken away.
        along = along.masked_fill_(length <= _SHORTEST, 0.0)
        return torch.addcmul(grad, along, out, value=-1).div_(length)
