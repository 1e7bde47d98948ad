"""The shapes of attention: queries and keys by head, and what lies beside their logits."""

from __future__ import annotations

from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check


def group_size(query: Tensor, key: Tensor, key_name: str) -> int:
    """How many heads of the queries share a head of the keys.

    Args:
        query: (..., heads, queries, dim).
        key: (..., key heads, keys, dim).
        key_name: What the caller's own argument is called.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit.
    """
    for name, x in (("query", query), (key_name, key)):
        if x.ndim < 3 or not x.is_floating_point() or 0 in x.shape[-3:]:
            raise NearfarError(
                f"{name} has shape {tuple(x.shape)} and dtype {x.dtype}; wanted floating point "
                "(..., heads, rows, dim), none of these three empty. A single head is x[None]."
            )
    check.same_kind(key_name, key, query, "query")
    heads, shared = query.shape[-3], key.shape[-3]
    if query.shape[-1] != key.shape[-1] or heads % shared:
        raise NearfarError(
            f"{key_name} has shape {tuple(key.shape)} but query has {tuple(query.shape)}; wanted "
            "rows of the same width, and a number of heads that divides the queries'."
        )
    return heads // shared


def spread(name: str, x: Tensor, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """A view of ``x`` in a larger shape.

    Raises:
        NearfarError: It does not fit, or is on another device than ``like``.
    """
    check.same_device(name, x, like)
    try:
        return x.broadcast_to(shape)
    except RuntimeError:
        raise NearfarError(
            f"{name} has shape {tuple(x.shape)}; wanted one that broadcasts to {shape}. What holds "
            f"for all heads has 1 in their place: {name}.unsqueeze(1)."
        ) from None
