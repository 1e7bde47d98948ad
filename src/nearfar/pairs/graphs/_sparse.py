"""Sparse rows: the few helpers that graphs need beside torch's own."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def csr(crow: Tensor, column: Tensor, value: Tensor, shape: tuple[int, int]) -> Tensor:
    """A sparse matrix by rows; its products are many times faster than those of coordinates.

    Args:
        crow: (N + 1,) where each row begins.
        column: (nnz,) int64.
        value: (nnz,).
        shape: (N, M).
    """
    with warnings.catch_warnings():
        # torch calls the layout beta; what is used here (times a dense matrix) is tested here.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(crow, column, value, size=shape, check_invariants=False)


def pointers(row: Tensor, rows: int) -> Tensor:
    """(rows + 1,) where each row begins, from sorted row numbers."""
    counts = torch.bincount(row, minlength=rows)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def ranges(start: Tensor, count: Tensor) -> Tensor:
    """start_0, start_0 + 1, ... (count_0 of them), start_1, ...

    Example:
        >>> ranges(torch.tensor([5, 0]), torch.tensor([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    shift = start - (count.cumsum(0) - count)
    total = int(count.sum())
    return torch.arange(total, device=start.device) + shift.repeat_interleave(count)


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Rows of a dense or a CSR matrix, in the order asked for."""
    if x.layout == torch.strided:
        return x[rows]
    crow = x.crow_indices()
    count = crow[rows + 1] - crow[rows]
    place = ranges(crow[rows], count)
    begin = torch.cat([count.new_zeros(1), count.cumsum(0)])
    shape = (len(rows), x.shape[1])
    return csr(begin, x.col_indices()[place], x.values()[place], shape)
