"""From a feature matrix as a file has it to the one in memory."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearfar.pairs.graphs._sparse import csr, pointers

# A matrix with more zeros than this is kept by its other entries.
_MOSTLY_ZERO = 0.75


def features(x: Any) -> Tensor:
    """(N, F) float32: sparse CSR where most entries are zero, otherwise dense.

    Args:
        x: A SciPy CSR matrix, an array or a tensor.
    """
    if isinstance(x, Tensor):
        return _from_tensor(x)
    if isinstance(x, np.ndarray):
        return _from_tensor(torch.from_numpy(np.ascontiguousarray(x)))
    x = x.tocsr()
    x.sum_duplicates()
    x.eliminate_zeros()
    if x.nnz > (1 - _MOSTLY_ZERO) * np.prod(x.shape):
        return torch.from_numpy(x.toarray().astype(np.float32))
    indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (x.indptr, x.indices))
    return csr(indptr, indices, torch.from_numpy(x.data.astype(np.float32)), x.shape)


def _from_tensor(x: Tensor) -> Tensor:
    x = (x.to_dense() if x.layout != torch.strided else x).float()
    if int((x != 0).sum()) > (1 - _MOSTLY_ZERO) * x.numel():
        return x.contiguous()
    row, column = x.nonzero(as_tuple=True)
    return csr(pointers(row, len(x)), column, x[row, column], (x.shape[0], x.shape[1]))


Scale = Literal["rows", "columns"]


def scaling(x: Tensor) -> Scale:
    """``rows`` for what looks like counts (no negatives, mostly zeros), otherwise ``columns``."""
    value = x if x.layout == torch.strided else x.values()
    counts = int((value != 0).sum()) < 0.5 * x.numel() and not bool((value < 0).any())
    return "rows" if counts else "columns"


def scaled(x: Tensor, how: Scale) -> Tensor:
    """Features as the encoder sees them.

    Args:
        x: (N, F), dense or CSR.
        how: ``rows``: every row is divided by the sum of its absolute values (words of a text
            become shares). ``columns``: mean 0 and deviation 1 over the graph's nodes (quantities
            of different kinds become comparable).
    """
    if how == "columns":
        dense = x.to_dense() if x.layout != torch.strided else x
        spread = dense.std(0, correction=0)
        return (dense - dense.mean(0)) / torch.where(spread > 0, spread, torch.ones_like(spread))
    if x.layout == torch.strided:
        return x / x.abs().sum(1, keepdim=True).clamp_min(1e-12)
    row = torch.repeat_interleave(x.crow_indices().diff())
    sums = x.values().new_zeros(len(x)).index_add(0, row, x.values().abs())
    value = x.values() / sums[row].clamp_min(1e-12)
    return csr(x.crow_indices(), x.col_indices(), value, (x.shape[0], x.shape[1]))
