"""Similarities of rows to their partners, never of all to all."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact
from nearfar.loss.loops import ready


def by_loops(query: Tensor, key: Tensor | None = None) -> bool:
    """Whether rows meet in loops: nobody asks for a derivative of what comes out."""
    either = query.requires_grad or (key is not None and key.requires_grad)
    differentiable = torch.is_grad_enabled() and either
    return not (differentiable or many(query)) and ready(query, len(query) ** 2)


def partners(query: Tensor, key: Tensor) -> Tensor:
    """q_i . k_i, (..., N)."""
    if by_loops(query, key):
        from nearfar.loss.loops import rows

        found = query.new_empty(query.shape[:-1])
        rows.dots(query.contiguous(), key.contiguous(), found.view(1, -1))
        return found
    with exact(query):
        similarity: Tensor = torch.linalg.vecdot(query, key)
    return similarity
