"""Bad input, said clearly. Checks that read values can be switched off in one place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from nearfar.errors import NearfarError, did_you_mean

# Each thread's own.
_enabled = ContextVar("nearfar.checks", default=True)
_transform = torch._C._functorch.peek_interpreter_stack
_NO_NEGATIVE = (
    "query row {row} has no negative; wanted at least one candidate besides its positive. "
    "Use a larger batch, give negative_keys, or loosen ids, labels, mask and similarity_margin."
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
    before = _enabled.set(enabled)
    try:
        yield
    finally:
        _enabled.reset(before)


def readable() -> bool:
    """Values can be looked at: checks are on, and no compiler or transform is tracing."""
    return not traced() and _enabled.get()


def traced() -> bool:
    """A compiler or a function transform is looking on: values are not known yet."""
    return (
        torch.compiler.is_compiling() or _transform() is not None or forward_ad._current_level >= 0
    )


def many(grad: Tensor) -> bool:
    """A gradient stands for several at once: torch.vmap, or ``is_grads_batched``."""
    return traced() or torch._C._functorch.is_legacy_batchedtensor(grad)


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


def single(name: str, x: Tensor) -> None:
    """A tensor of one number."""
    if x.numel() != 1:
        raise NearfarError(f"{name} has shape {tuple(x.shape)}; wanted one number: a 0-dim tensor.")


def same_kind(name: str, x: Tensor, like: Tensor, like_name: str) -> None:
    """The same dtype and device."""
    if x.dtype != like.dtype or x.device != like.device:
        raise NearfarError(
            f"{name} is {x.dtype} on {x.device} but {like_name} is {like.dtype} on {like.device}; "
            f"wanted the same: {name}.to({like_name})."
        )


def finite(name: str, x: Tensor) -> None:
    """No NaN and no infinity; the first bad row is named."""
    if readable() and not bool(x.isfinite().all()):
        if x.ndim == 0:
            raise NearfarError(f"{name}={x.item()}: wanted a finite number.")
        row = int((~x.flatten(1).isfinite().all(1)).nonzero()[0])
        raise NearfarError(
            f"{name} has a NaN or an infinity in row {row}; wanted finite numbers. Look at the "
            "input of that row, or lower the learning rate."
        )


def _finite(x: Tensor) -> bool:
    # For one number, the short way: what runs after large products waits for its code.
    return bool(x.isfinite().all()) if x.ndim else math.isfinite(x.item())


def finite_loss(loss: Tensor, scale: Tensor, **inputs: Tensor) -> Tensor:
    """The loss, if it is finite; otherwise the input that is to blame is looked for.

    A row that is not finite reaches the loss, so nothing needs to be read before.
    """
    if readable() and not (_finite(loss) and scale.item() > 0):
        for name, x in inputs.items():
            finite(name, x)
        number = scale.item()
        if not 0 < number < torch.inf:
            raise NearfarError(
                f"temperature={1 / number if number else torch.inf:.4g}, or logit_scale="
                f"{number:.4g}: wanted a positive, finite number. Learn its logarithm, as "
                "nearfar.Temperature does."
            )
        raise NearfarError(
            "The loss is not finite although this rank's inputs are; wanted logits within the "
            "range of the number format. Normalise the embeddings, raise the temperature, or look "
            "at the inputs of the other ranks."
        )
    return loss


def grid(name: str, x: Tensor, shape: tuple[int, int], like: Tensor) -> None:
    """A matrix beside the logits."""
    if tuple(x.shape) != shape:
        raise NearfarError(
            f"{name} has shape {tuple(x.shape)}; wanted {shape}: a row for each query, a column "
            "for each in-batch key (of all ranks)."
        )
    same_device(name, x, like)


def boolean(name: str, x: Tensor) -> None:
    """True or False; 0 and 1 would be read as bit patterns."""
    if x.dtype != torch.bool:
        raise NearfarError(f"{name} has dtype {x.dtype}; wanted torch.bool: {name}.bool().")


def same_device(name: str, x: Tensor, like: Tensor, like_name: str = "query") -> None:
    """Beside the embeddings."""
    if x.device != like.device:
        raise NearfarError(
            f"{name} is on {x.device} but {like_name} is on {like.device}; wanted the same: "
            f"{name}.to({str(like.device)!r})."
        )


def additive(name: str, x: Tensor) -> None:
    """Finite, or -inf where a key is forbidden; the first bad row is named."""
    if readable() and not bool((x < torch.inf).all()):
        row = int((~(x < torch.inf).all(1)).nonzero()[0])
        raise NearfarError(
            f"{name} has a NaN or +infinity in row {row}; wanted finite numbers, or -inf where a "
            "key may not stand."
        )


def may_stand(own: Tensor) -> None:
    """(N,) what is added to the positives' logits does not forbid them."""
    if readable() and bool((own == -torch.inf).any()):
        row = int((own == -torch.inf).nonzero()[0])
        raise NearfarError(
            f"bias is -inf for query row {row} and its own positive; wanted a finite number there, "
            "and -inf at most for other keys."
        )


def integer_ids(name: str, ids: Tensor, like: Tensor, like_name: str = "query") -> None:
    """Integers, one for each vector of ``like``."""
    if not one_each(ids, like):
        raise NearfarError(
            f"{name} has shape {tuple(ids.shape)} and dtype {ids.dtype}; wanted "
            f"{tuple(like.shape[:-1])} integers, one for each vector."
        )
    same_device(name, ids, like, like_name)


def one_each(ids: Tensor, like: Tensor) -> bool:
    """Integers, one for each vector of ``like``."""
    return ids.shape == like.shape[:-1] and not (ids.is_floating_point() or ids.is_complex())


def several(enough: bool) -> None:
    """The batch holds more than one item."""
    if not enough:
        raise NearfarError(_NO_NEGATIVE.format(row=0))


def anybody_alone(logs: list[Tensor]) -> bool:
    """Some row of some (N,) logsumexps is that of an empty crowd."""
    return readable() and any(bool((log == -torch.inf).any()) for log in logs)


def somebody(log: Tensor) -> None:
    """No row of (N,) logsumexps is that of an empty crowd."""
    if anybody_alone([log]):
        row = int((log == -torch.inf).nonzero()[0])
        raise NearfarError(_NO_NEGATIVE.format(row=row))


def has_negative(candidates: Tensor, others: Tensor | None, *, needed: int) -> None:
    """Every row has somebody else to be told from.

    Args:
        candidates: (N, M) bool.
        others: (N,) logsumexp of further ones, or None.
        needed: How many make a crowd: 1, or 2 with the row's own positive.
    """
    if not readable():
        return
    alone = candidates.sum(1) < needed
    if others is not None:
        alone &= others == -torch.inf
    if bool(alone.any()):
        raise NearfarError(_NO_NEGATIVE.format(row=int(alone.nonzero()[0])))
