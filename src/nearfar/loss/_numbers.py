"""Number formats and sizes: what embeddings and gradients are computed in."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

_NOTHING = nullcontext()
# Derivatives by a logit below this, beside the largest that came in, are none. Processors take up
# to a hundred times as long for products with numbers, or of sums, that are below the smallest
# normal one: times an embedding and a loss's share in a mean, this is not.
FAINT = {kind: torch.finfo(kind).tiny * 2**46 for kind in (torch.float32, torch.float64)}
# A product may take a factor along, unless it is smaller: times what counts, it would be too small.
SMALL = 2.0**-24


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast does not reach the matrix products."""
    kind = "cpu" if x.is_cpu else x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else _NOTHING


def without_faint(force: Tensor) -> Tensor:
    """Derivatives by logits, with zeros in place of those that are too small to count."""
    return torch.hardshrink(force, FAINT[force.dtype], out=force)


def normal(exponent: Tensor, base: float) -> Tensor:
    """Exponents, with minus infinity in place of those whose powers would be no normal numbers."""
    least = math.log(torch.finfo(exponent.dtype).tiny, base)
    torch.threshold_(exponent, least, -torch.inf)
    return exponent


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
