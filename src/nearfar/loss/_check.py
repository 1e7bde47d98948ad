"""Bad input, said clearly. Checks that read values can be switched off in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean

_enabled = True


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
    return (
        _enabled
        and not torch.compiler.is_compiling()
        and not any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)
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


def grid(name: str, x: Tensor | None, rows: int, columns: int) -> None:
    """An optional (N, M) matrix beside the logits."""
    if x is not None and tuple(x.shape) != (rows, columns):
        raise NearfarError(
            f"{name} has shape {tuple(x.shape)}; wanted ({rows}, {columns}): a row for each query, "
            "a column for each in-batch key."
        )


def integer_ids(name: str, ids: Tensor, rows: int) -> None:
    """(rows,) integers."""
    if tuple(ids.shape) != (rows,) or ids.is_floating_point():
        raise NearfarError(
            f"{name} has shape {tuple(ids.shape)} and dtype {ids.dtype}; wanted ({rows},) "
            "integers, one for each row."
        )


def has_negative(crowd: Tensor, *, decoupled: bool) -> None:
    """Every query's crowd (N, M) holds something besides its one positive."""
    needed = 1 if decoupled else 2
    counts = crowd.sum(1)
    if crowd.shape[1] < needed or (readable(crowd) and not bool((counts >= needed).all())):
        row = 0 if crowd.shape[1] < needed else int((counts < needed).nonzero()[0])
        raise NearfarError(
            f"query row {row} has no negative; wanted at least one candidate besides its "
            "positive. Use a larger batch, give negative_keys, or loosen ids and mask."
        )
