"""Similarities of rows to their partners, never of all to all."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact
from nearfar.loss.loops import ready


def partners(query: Tensor, key: Tensor) -> Tensor:
    """q_i . k_i, (..., N)."""
    differentiable = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad)
    if not (differentiable or many(query)) and ready(query, len(query) ** 2):
        from nearfar.loss.loops import rows

        found = query.new_empty(query.shape[:-1])
        rows.dots(query.contiguous(), key.contiguous(), found.view(1, -1))
        return found
    with exact(query):
        similarity: Tensor = torch.linalg.vecdot(query, key)
    return similarity
