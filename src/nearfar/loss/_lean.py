"""The forms at O(N d) memory: push by tiles, pull by the few pairs that belong together."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._tiled import push


def pairs(
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor,
    ids: Tensor | None,
    *,
    symmetric: bool,
    decoupled: bool,
) -> Tensor:
    """Row i of one side belongs to row i of the other, (N,); both directions if symmetric."""
    check.two_groups(ids, query)
    scale = _scale(temperature, query)
    positive = (query * key).sum(1) * scale
    sides = push(query, key, scale, ids, ids, both=symmetric)
    crowds = [side for side in sides if side is not None]
    if not decoupled:
        crowds = [torch.logaddexp(crowd, positive) for crowd in crowds]
    return sum(crowds[1:], crowds[0]) / len(crowds) - positive


def views(
    z: Tensor,
    number: int,
    temperature: float | Tensor,
    ids: Tensor | None,
    *,
    decoupled: bool,
) -> Tensor:
    """Views of the same items one after the other, (views * N,): NT-Xent.

    Args:
        z: (views * N, D) rows of length one.
        number: How many views there are.
        temperature: Divides the similarities.
        ids: (N,) integers; items with equal ids are no negatives.
        decoupled: Positives leave the denominator.
    """
    items = len(z) // number
    own = torch.arange(items, device=z.device) if ids is None else ids
    check.two_groups(own, z)
    scale = _scale(temperature, z)
    crowd, _ = push(z, None, scale, own.repeat(number))
    by_view = z.view(number, items, -1)
    partners = torch.stack(
        [
            (by_view[v] * by_view[w]).sum(1) * scale
            for v in range(number)
            for w in range(number)
            if w != v
        ]
    ).view(number, number - 1, items)
    if not decoupled:
        crowd = torch.logaddexp(crowd, partners.logsumexp(1).flatten())
    return crowd - partners.mean(1).flatten()


def labelled(z: Tensor, labels: Tensor, temperature: float | Tensor) -> Tensor:
    """Equal labels belong together, (N,): SupCon's L_out. A row without partners has no pull."""
    check.two_groups(labels, z)
    scale = _scale(temperature, z)
    crowd, _ = push(z, None, scale)
    group, size = groups(labels)
    sums = z.new_zeros(len(size), z.shape[1]).index_add(0, group, z)
    partners = (z * (sums[group] - z)).sum(1) * scale
    return crowd - partners / (size[group] - 1).clamp_min(1)


def groups(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels renumbered from 0, (N,), and how many rows each group has."""
    found: tuple[Tensor, Tensor, Tensor] = torch.unique(
        labels, return_inverse=True, return_counts=True
    )
    return found[1], found[2]


def _scale(temperature: float | Tensor, like: Tensor) -> Tensor:
    return 1 / torch.as_tensor(temperature, dtype=like.dtype, device=like.device).reshape(())
