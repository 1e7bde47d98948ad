"""The dense backend and reference: the formula, with the matrix of similarities stored.

Shape suffixes: N queries, M candidates, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def working(x: Tensor) -> Tensor:
    """At least float32: logits of half-precision inputs are computed and summed in float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def unit(x: Tensor) -> Tensor:
    """Rows scaled to length one."""
    return functional.normalize(working(x), dim=-1)


def logits(query_ND: Tensor, key_MD: Tensor, temperature: float | Tensor) -> Tensor:
    """s_ij = q_i . k_j / temperature, (N, M); keys of shape (N, M, D) are each query's own."""
    query, key = working(query_ND), working(key_MD)
    with torch.autocast(query.device.type, enabled=False):
        if key.ndim == 3:
            return torch.einsum("nd,nmd->nm", query, key) / temperature
        return query @ key.transpose(-2, -1) / temperature


def contrast(logits_NM: Tensor, weight_NM: Tensor, crowd_NM: Tensor | None) -> Tensor:
    """Push minus pull, (N,): logsumexp over the crowd - sum_j w_ij s_ij.

    Args:
        logits_NM: s_ij.
        weight_NM: w_ij >= 0; a row sums to one.
        crowd_NM: True where candidate j stands in the denominator of query i; None: everywhere.
    """
    crowd = logits_NM if crowd_NM is None else logits_NM.masked_fill(~crowd_NM, -torch.inf)
    # A logit of -inf (a bias that forbids) with weight 0 must not make 0 * inf.
    pull = torch.where(weight_NM > 0, weight_NM * logits_NM, 0.0).sum(-1)
    return crowd.logsumexp(-1) - pull


def reduce(loss_N: Tensor, reduction: str) -> Tensor:
    """none, sum or mean."""
    return loss_N if reduction == "none" else getattr(loss_N, reduction)()
