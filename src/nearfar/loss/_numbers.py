"""Number formats and sizes: what embeddings and gradients are computed in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_NOTHING = nullcontext()


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast does not reach the matrix products."""
    kind = "cpu" if x.is_cpu else x.device.type
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
