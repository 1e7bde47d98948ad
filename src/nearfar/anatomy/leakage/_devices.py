"""Encode a batch as several devices would, really or in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.errors import NearfarError
from nearfar.loss._ranks import Ranks
from nearfar.loss._shuffle import in_order, seated

Encode = Callable[[Tensor], Tensor]


def encode_on(encode: Encode, x: Tensor, order: Tensor, devices: int, ranks: Ranks) -> Tensor:
    """Encode with row ``order[j]`` on seat j, seats shared out evenly over devices.

    Args:
        encode: (n, ...) to (n, D): what one device does.
        x: (N, ...) all devices' rows.
        order: (N,) a permutation, the same on every rank.
        devices: How many there are: the ranks, or virtual ones.
        ranks: Alone: the devices are virtual.

    Returns:
        (N, D) in the order of ``x``.
    """
    if not ranks.alone:
        return seated(encode, x, order, ranks)
    seats = order.tensor_split(devices)
    if isinstance(encode, nn.Module) and any(over_ranks(layer) for layer in encode.modules()):
        # What is synchronised has to see all devices at once, so all are encoded at once.
        with _apart(encode, seats):
            return encode(x)  # type: ignore[no-any-return]
    return in_order(torch.cat([encode(x[rows]) for rows in seats]), order)


def over_ranks(layer: nn.Module) -> bool:
    """A batch norm with the statistics of all ranks."""
    return isinstance(layer, nn.SyncBatchNorm) or getattr(layer, "over_ranks", False)


def batch_norms(encode: object) -> list[nn.Module]:
    """All batch norms of a module; none of another callable's."""
    modules = encode.modules() if isinstance(encode, nn.Module) else ()
    return [layer for layer in modules if isinstance(layer, _BatchNorm)]


@contextmanager
def _apart(model: nn.Module, seats: Sequence[Tensor]) -> Iterator[None]:
    """Batch norms that are not synchronised see one device's rows at a time."""
    layers = [layer for layer in batch_norms(model) if not over_ranks(layer)]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _device_by_device(layer.forward, seats)
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward


def _device_by_device(forward: Callable[..., Any], seats: Sequence[Tensor]) -> Encode:
    rows = sum(len(seat) for seat in seats)

    def split(x: Tensor) -> Tensor:
        if len(x) != rows:
            raise NearfarError(
                f"A batch norm sees {len(x)} rows of a batch of {rows}; wanted one for each, to "
                "know which device it is on. Run the audit on real ranks, or give a function that "
                "encodes one device's rows."
            )
        out = torch.empty_like(x)
        for seat in seats:
            out[seat] = forward(x[seat])
        return out

    return split
