"""Tell a head where to look: InfoNCE on its attention."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from nearfar.anatomy.attention._games import play
from nearfar.anatomy.attention._heads import group_size, spread
from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._info_nce import Reduction
from nearfar.loss._numbers import working

# As in torch's cross_entropy.
IGNORED = -100


def attention_info_nce(
    query: Tensor,
    keys: Tensor,
    target: Tensor,
    *,
    scale: float | Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Minus the log of the attention that each query pays to the key it should look at.

    InfoNCE (van den Oord et al. 2018, equation 4) with each query's own row of keys as candidates:
    -log softmax_j(scale q . k_j) at the target. The logits of all heads are never stored together:
    a long sequence's are a push without a matrix, short ones' fill one tile at a time, and both are
    computed again in the backward pass. (Where there is but one push or one tile, it keeps its
    tiles for the backward pass within its memory budget, as in every loss.)

    Args:
        query: (..., heads, queries, dim), as they go into the softmax: after projections and
            rotations, not normalised.
        keys: (..., key heads, keys, dim), the same leading dimensions; grouped heads share keys.
        target: Integers that broadcast to (..., heads, queries): the place of the right key, or
            -100 where a query has none and is left out.
        scale: 1 / temperature, a number or a 0-dim tensor; 1 / sqrt(dim) by default.
        mask: Bool that broadcasts to (..., heads, queries, keys), True where a key may be looked
            at.
        reduction: ``none`` gives (..., heads, queries) with 0 where left out, else ``sum`` or
            ``mean`` of the others.

    Returns:
        At least float32.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit, a target that is no place among the
            keys or that the mask hides, only targets of -100, a row that is not finite, a scale
            that is not positive.

    Example:
        >>> q, k = 4 * torch.eye(3)[None], torch.eye(3)[None]
        >>> round(attention_info_nce(q, k, torch.arange(3), scale=1.0).item(), 4)
        0.036
    """
    check.one_of("reduction", reduction, ("none", "sum", "mean"))
    group = group_size(query, keys, "keys")
    if query.shape[:-3] != keys.shape[:-3]:
        raise NearfarError(
            f"keys has shape {tuple(keys.shape)} but query has {tuple(query.shape)}; wanted the "
            "same dimensions before the heads."
        )
    shape = query.shape[:-1]
    if mask is not None:
        check.boolean("mask", mask)
        mask = spread("mask", mask, (*shape, keys.shape[-2]), query)
    valid, place = _places(spread("target", target, shape, query), mask, keys.shape[-2])
    wide = query.shape[-1] ** -0.5 if scale is None else scale
    factor = torch.as_tensor(wide, dtype=working(query).dtype, device=query.device)
    check.single("scale", factor)
    masks = None if mask is None else [mask[at] for at in product(*map(range, shape[:-1]))]
    own, shared = (working(x).flatten(0, -3) for x in (query, keys))
    losses = play(own, shared, place.flatten(0, -2), factor.reshape(()), masks, group)
    loss = losses.view(shape).masked_fill(~valid, 0.0)
    if reduction != "none":
        loss = loss.sum() / (valid.sum() if reduction == "mean" else 1)
    return check.finite_loss(loss, factor, query=query, keys=keys)


def _places(target: Tensor, mask: Tensor | None, columns: int) -> tuple[Tensor, Tensor]:
    """Where there is a target, and its place, 0 where there is none."""
    if target.is_floating_point() or target.dtype == torch.bool:
        raise NearfarError(f"target has dtype {target.dtype}; wanted integers: target.long().")
    valid = target != IGNORED
    place = target.long().masked_fill(~valid, 0)
    if check.readable():
        if not bool(valid.any()):
            raise NearfarError(
                f"target is {IGNORED} everywhere; wanted at least one query with a key to look at."
            )
        bad, what = (place < 0) | (place >= columns), f"wanted 0 to {columns - 1}, or {IGNORED}"
        if mask is not None and not bool(bad.any()):
            bad = valid & ~mask.gather(-1, place[..., None]).squeeze(-1)
            what = "but the mask hides that key; wanted a key that may be looked at"
        if bool(bad.any()):
            at = tuple(bad.nonzero()[0].tolist())
            raise NearfarError(f"target at {at} is {int(place[at])}; {what}.")
    return valid, place
