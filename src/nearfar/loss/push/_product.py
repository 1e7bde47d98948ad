"""Matrix products with tiles, by the faster of the two libraries that PyTorch brings.

PyTorch multiplies matrices by MKL, which is made for Intel's processors. On the one AMD processor
that was measured (Zen 4), whole losses took 5 to 20 % less time with oneDNN, and with queries and
keys multiplied by loops, where they are there, 2 to 5 % less than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

from nearfar.loss._numbers import SMALL
from nearfar.loss._room import ROOM, keep_freed, large

Product = Callable[[Tensor, Tensor], Tensor]
# oneDNN compiles a kernel for every new shape: only shapes that come again are worth it.
_MULTIPLE = 64
# Entries of both matrices, multiplied: of 512 rows of 256, beneath which nothing is won.
_ENTRIES = (512 * 256) ** 2
# What `product` adds a multiple of.
_ONE = {dtype: torch.ones((), dtype=dtype) for dtype in (torch.float32, torch.float64)}


def similarities(
    query: Tensor, key: Tensor, out: Tensor, factor: float, *, new: bool = False
) -> Tensor:
    """``factor * query @ key.mT``, in ``out``; ``new``: or, where that is faster, elsewhere."""
    linear = _linear(query, key) if new and query.ndim == 2 else None
    if linear is None:
        return _multiply(query)(out, query, key.mT, beta=0, alpha=factor, out=out)
    # The smaller one is scaled.
    if len(query) < len(key):
        return linear(query * factor, key)
    return linear(query, key * factor)


def one_dnn_takes(like: Tensor) -> bool:
    """Whether large matrices of such numbers are multiplied by oneDNN."""
    return like.is_cpu and like.dtype == torch.float32 and _one_dnn() is not None


def product(a: Tensor, b: Tensor, factor: float, bias: float = 0.0) -> Tensor:
    """``factor * a @ b + bias``, on a CPU."""
    linear = None
    if a.numel() * b.numel() >= _ENTRIES:
        linear = _linear(a, b if b.is_contiguous() else b.T)
    if linear is not None:
        found = linear(a, b.T).mul_(factor)
    else:
        room = large(a.shape[0], b.shape[1], a)
        if abs(factor) >= SMALL:
            # Small operations cost by their number, and this is one.
            return torch.addmm(_ONE[a.dtype], a, b, beta=bias, alpha=factor, out=room)
        found = torch.mm(a, b, out=room).mul_(factor)
    return found.add_(bias) if bias else found


def add_product(to: Tensor, tile: Tensor, other: Tensor, factor: float, *, first: bool) -> None:
    """``to += factor * tile @ other`` in the precision of ``to``, to nothing if it is the first."""
    _add(to, tile, other, _linear(tile, other), factor, first)


def add_turned(to: Tensor, other: Tensor, tile: Tensor, factor: float, *, first: bool) -> None:
    """``to += factor * other @ tile``: a sum over a tile's rows is faster lying on its side."""
    _add(to, other, tile, _linear(tile, other), factor, first)


def turned(rows: Tensor, *, loops: bool) -> Tensor:
    """``rows.mT`` as `add_turned` is fast with: MKL reads float32 from either side.

    Args:
        rows: (..., n, d).
        loops: They are `ready`.
    """
    if rows.dtype != torch.bfloat16 and _one_dnn() is None:
        return rows.mT
    if not loops:
        return rows.mT.contiguous()
    from nearfar.loss.loops.columns import transpose

    found = ROOM.take(rows.mT.shape, rows)
    transpose(rows, found)
    return found


def _add(
    to: Tensor, a: Tensor, b: Tensor, linear: Product | None, factor: float, first: bool
) -> None:
    if linear is None and a.dtype == to.dtype:
        _multiply(a)(to, a, b, beta=0 if first else 1, alpha=factor, out=to)
        return
    if linear is not None and a.ndim > 2:
        for each in zip(to, a, b, strict=True):
            _add(*each, linear, factor, first)
        return
    found = a @ b if linear is None else linear(a, b.T)
    if first:
        torch.mul(found, factor, out=to)
    else:
        to.add_(found, alpha=factor)


def _multiply(a: Tensor) -> Callable[..., Tensor]:
    """PyTorch's product of one such matrix, or of several."""
    return torch.addmm if a.ndim == 2 else torch.baddbmm


def _linear(a: Tensor, b: Tensor) -> Product | None:
    """oneDNN's ``x @ y.T``, if it is worth it for these matrices or their transposes.

    Of several, it is so for one after the other.
    """
    one_dnn = _one_dnn()
    if one_dnn is None:
        return None
    if a.ndim > 2:
        a, b = a[0], b[0]
    if a.numel() * b.numel() < _ENTRIES or a.dtype != torch.float32 or a.device.type != "cpu":
        return None
    # It takes a part of a matrix a thousand times longer to read.
    if not (a.is_contiguous() and b.is_contiguous()):
        return None
    if any(x % _MULTIPLE for x in (*a.shape, *b.shape)):
        return None
    return None if counted() else one_dnn


@cache
def amd() -> bool:
    """Whether this is a processor of AMD's, of which few cores share a cache."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def loops_multiply(rows: Tensor) -> bool:
    """Whether loops, where they are `ready`, multiply queries and keys faster than PyTorch.

    Args:
        rows: (N, D) queries or keys; of bfloat16, that is so where half of a tile is enough.
    """
    if counted() or not amd():
        return False
    from nearfar.loss.loops.similarities import AVX_512, PAIRS

    if rows.dtype == torch.bfloat16:
        return PAIRS and rows.is_contiguous() and rows.shape[1] % 2 == 0
    return AVX_512


def counted() -> bool:
    """Whether somebody counts operations, who knows PyTorch's own products only."""
    return _get_current_dispatch_mode() is not None


@cache
def _one_dnn() -> Product | None:
    """oneDNN's ``x @ y.T`` where it is the faster one: the same in every run on one machine."""
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if not (amd() and mkl):
        return None
    keep_freed()
    return one_dnn()


def one_dnn() -> Product | None:
    """oneDNN's ``x @ y.T``, if this PyTorch has it."""
    op = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if op is None or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    return lambda x, y: op(x, y, None, "none", [], "")
