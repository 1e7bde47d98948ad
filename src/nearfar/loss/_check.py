"""Bad input, said clearly. Checks that read values can be switched off in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean

_enabled = True
_NO_NEGATIVE = (
    "query row {row} has no negative; wanted at least one candidate besides its positive. "
    "Use a larger batch, give negative_keys, or loosen ids, labels and mask."
)


@contextmanager
def checks(enabled: bool) -> Iterator[None]:
    """Switch the checks that read tensors' values on or off inside the block.

    They wait for a GPU to finish what it is doing; shapes are always checked, at no cost.

    Example:
        >>> import torch, nearfar
        >>> with checks(enabled=False):
        ...     loss = nearfar.info_nce(torch.full((2, 2), torch.nan), torch.eye(2))
        >>> bool(loss.isnan())
        True
    """
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def readable(*tensors: Tensor) -> bool:
    """Values can be looked at: checks are on, and no compiler or transform is tracing."""
    return _enabled and not traced(*tensors)


def traced(*tensors: Tensor) -> bool:
    """A compiler or a function transform is looking on: values are not known yet."""
    return torch.compiler.is_compiling() or any(
        torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors
    )


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """A word out of a few."""
    if value not in known:
        raise NearfarError(
            f"{name}={value!r}: wanted one of {', '.join(known)}.{did_you_mean(value, known)}"
        )


def matrix(name: str, x: Tensor, like: Tensor | None = None, like_name: str = "") -> None:
    """(rows, dim) floats; with ``like``, the same shape, dtype and device."""
    if x.ndim != 2 or not x.is_floating_point() or x.shape[1] == 0:
        raise NearfarError(
            f"{name} has shape {tuple(x.shape)} and dtype {x.dtype}; wanted floating point "
            "(batch, dim). Flatten all other dimensions first."
        )
    if like is not None:
        if x.shape != like.shape:
            raise NearfarError(
                f"{name} has shape {tuple(x.shape)} but {like_name} has {tuple(like.shape)}; "
                "wanted one row for each of its rows, of the same width."
            )
        same_kind(name, x, like, like_name)
    finite(name, x)


def same_kind(name: str, x: Tensor, like: Tensor, like_name: str) -> None:
    """The same dtype and device."""
    if x.dtype != like.dtype or x.device != like.device:
        raise NearfarError(
            f"{name} is {x.dtype} on {x.device} but {like_name} is {like.dtype} on {like.device}; "
            f"wanted the same: {name}.to({like_name})."
        )


def finite(name: str, x: Tensor) -> None:
    """No NaN and no infinity; the first bad row is named."""
    if readable(x) and not bool(x.isfinite().all()):
        row = int((~x.flatten(1).isfinite().all(1)).nonzero()[0])
        raise NearfarError(
            f"{name} has a NaN or an infinity in row {row}; wanted finite numbers. Look at the "
            "input of that row, or lower the learning rate."
        )


def grid(name: str, x: Tensor, logits: Tensor) -> None:
    """A matrix beside the (N, N) logits."""
    if x.shape != logits.shape:
        raise NearfarError(
            f"{name} has shape {tuple(x.shape)}; wanted {tuple(logits.shape)}: a row for each "
            "query, a column for each in-batch key."
        )
    same_device(name, x, logits)


def boolean(name: str, x: Tensor) -> None:
    """True or False; 0 and 1 would be read as bit patterns."""
    if x.dtype != torch.bool:
        raise NearfarError(f"{name} has dtype {x.dtype}; wanted torch.bool: {name}.bool().")


def same_device(name: str, x: Tensor, like: Tensor) -> None:
    """Beside the queries."""
    if x.device != like.device:
        raise NearfarError(
            f"{name} is on {x.device} but query is on {like.device}; wanted the same: "
            f"{name}.to({str(like.device)!r})."
        )


def additive(name: str, x: Tensor) -> None:
    """Finite, or -inf where a key is forbidden; the first bad row is named."""
    if readable(x) and not bool((x < torch.inf).all()):
        row = int((~(x < torch.inf).all(1)).nonzero()[0])
        raise NearfarError(
            f"{name} has a NaN or +infinity in row {row}; wanted finite numbers, or -inf where a "
            "key may not stand."
        )


def integer_ids(name: str, ids: Tensor, like: Tensor) -> None:
    """(rows,) integers, one for each row of ``like``."""
    rows = len(like)
    if tuple(ids.shape) != (rows,) or ids.is_floating_point():
        raise NearfarError(
            f"{name} has shape {tuple(ids.shape)} and dtype {ids.dtype}; wanted ({rows},) "
            "integers, one for each row."
        )
    same_device(name, ids, like)


def two_groups(ids: Tensor | None, like: Tensor) -> None:
    """Not all rows have one id; without ids, there is more than one row."""
    alone = len(like) < 2 if ids is None else readable(ids) and bool((ids == ids[:1]).all())
    if alone:
        raise NearfarError(_NO_NEGATIVE.format(row=0))


def has_negative(candidates: Tensor, *, needed: int) -> None:
    """Every row of candidates (N, M) holds at least ``needed``: 1, or 2 with its own positive."""
    counts = candidates.sum(1)
    empty = len(candidates) == 0 or candidates.shape[1] < needed
    if empty or (readable(candidates) and not bool((counts >= needed).all())):
        row = 0 if empty else int((counts < needed).nonzero()[0])
        raise NearfarError(_NO_NEGATIVE.format(row=row))
