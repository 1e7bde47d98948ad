"""A batch whose similarities fill few tiles is made of overhead: all of it in one node.

Normalisation, similarities, push, pull and their gradients, with the matrix stored. A loss that is
one number has its gradients at once, and the matrix is gone before the backward pass. What does not
fit in here (options, transforms, second derivatives, logits out of range, rows too short to be
scaled, bad input) goes the long way round, which says the same in more steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact, measured, without_faint, working
from nearfar.loss._rule import OutOfRangeError, Rule
from nearfar.loss._unit import across, scaled
from nearfar.loss.push import LOG, STEEP, gradients, product

# Entries of the matrix: beyond, there is more to win than overhead.
MOST = 1536 * 1536
# Query, key, scale and bias, or their gradients; None: there is none.
_Leaves = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


def fits(rows: int) -> bool:
    """A batch of so many rows may be taken at once."""
    return rows * rows <= MOST


def whole(
    rule: Rule,
    query: Tensor,
    key: Tensor | None,
    scale: float | Tensor,
    again: Callable[..., Tensor],
    *,
    normalize: bool,
    bias: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor | None:
    """The loss of a small batch; None if the long way round is needed.

    Args:
        rule: The loss.
        query: (N, D).
        key: (N, D); None: the queries are each other's candidates.
        scale: 1 / temperature.
        again: The long way round, for second derivatives: a function of query, key, scale, bias.
        normalize: Scale rows to length one.
        bias: 0-dim, if the rule has one.
        reduction: ``none`` gives (N,), else ``sum`` or ``mean``.
    """
    rows = query.shape[0]
    if not fits(rows):
        return None
    try:
        with exact(query):
            # Past `Function.apply`, whose steps in Python serve transforms: `short` has seen none.
            loss: Tensor = super(torch.autograd.Function, _Whole).apply(  # type: ignore[no-untyped-call]
                query, key, scale, bias, rule, again, normalize, reduction
            )
    except OutOfRangeError:
        return None
    LOG.debug("dense, in one node, for %s x %s", rows, rows)
    return loss


class _Rows(NamedTuple):
    """Queries and keys as they meet.

    Attributes:
        q: (N, D).
        k: (N, D).
        one: (N, 1) ones; None: rows were not scaled.
        q_length: (N, 1) what queries were divided by.
        k_length: (N, 1) keys, too.
    """

    q: Tensor
    k: Tensor
    one: Tensor | None = None
    q_length: Tensor | None = None
    k_length: Tensor | None = None


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor | None,
        scale: float | Tensor,
        bias: Tensor | None,
        rule: Rule,
        again: Callable[..., Tensor],
        normalize: bool,
        reduction: str,
    ) -> Any:
        number = scale.item() if isinstance(scale, Tensor) else scale
        if not 0 < number < math.inf:
            raise OutOfRangeError
        ctx.rule, ctx.again, ctx.number = rule, again, number
        ctx.normalize, ctx.reduction = normalize, reduction
        given = query, key, scale if isinstance(scale, Tensor) else None, bias
        loss, ctx.found, kept = _play(ctx, given)
        ctx.save_for_backward(*given, *kept)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, bias, *kept = ctx.saved_tensors
        given = query, key, scale, bias
        # What was found is used up, in place, by one backward pass; another finds it again.
        found, ctx.found = ctx.found, None
        if torch.is_grad_enabled() or many(grad):

            def again(query: Tensor, key: Any, scale: Tensor | None, bias: Any) -> list[Tensor]:
                return [ctx.again(query, key, ctx.number if scale is None else scale, bias)]

            found = gradients(again, given, [grad])
        elif grad.ndim:
            *rows, tile = kept[:6]
            top, (grad,) = measured(grad)
            force, factor = ctx.rule.force(tile, kept[6:], grad, ctx.number)
            with exact(query):
                found = _gradients(ctx, given, _Rows(*rows), force, factor * top.item())
        else:
            if found is None:
                with exact(query):
                    _, found, _ = _play(ctx, given)
            if (factor := grad.item()) != 1:
                found = [x if x is None else x.mul_(factor) for x in found]
        return *_as_given(found, given), None, None, None, None


def _play(ctx: Any, given: _Leaves) -> tuple[Tensor, _Leaves | None, tuple[Any, ...]]:
    """The loss, its gradients if it is one number, or what is kept for them if it is not."""
    number, rule = ctx.number, ctx.rule
    rows = _rows(given[0], given[1], normalize=ctx.normalize)
    tile = product(rows.q, rows.k.t(), number * rule.base, rule.bias)
    loss, count, kept = rule.loss(tile, number, number if ctx.normalize else math.inf)
    if ctx.reduction == "none":
        loss = loss.mean(0) if loss.ndim == 2 else loss
        lowest, highest = (end.item() for end in loss.aminmax())
    else:
        means = 1 if ctx.reduction == "mean" else len(tile)
        count = max(1, count // means)
        loss = loss.mean() if count == loss.numel() else loss.sum() / count
        lowest = highest = loss.item() / means
    if not rule.least(number) <= lowest <= highest < math.inf:
        raise OutOfRangeError
    if ctx.reduction == "none":
        return loss, None, (*rows, tile, *kept)
    if not any(ctx.needs_input_grad):
        return loss, None, ()
    force, factor = rule.force(tile, kept, None, number)
    return loss, _gradients(ctx, given, rows, force, factor / count), ()


def _rows(query: Tensor, key: Tensor | None, *, normalize: bool) -> _Rows:
    x, y = working(query), None if key is None else working(key)
    if not normalize:
        return _Rows(x, x if y is None else y)
    one = x.new_ones(x.shape[0], 1)
    of_query = scaled(x, one)
    of_key = of_query if y is None else scaled(y, one)
    if of_query is None or of_key is None:
        raise OutOfRangeError
    return _Rows(of_query[0], of_key[0], one, of_query[1], of_key[1])


def _gradients(
    ctx: Any,
    given: _Leaves,
    rows: _Rows,
    force: Tensor,
    factor: float,
) -> _Leaves:
    """Of queries, keys, scale and bias, where they are wanted, from a factor and the forces."""
    query, key, scale, bias = given
    _, needs_key, needs_scale, needs_bias, *_ = ctx.needs_input_grad
    if ctx.number > STEEP:
        without_faint(force)
    grad_k = grad_scale = grad_bias = None
    if needs_bias and bias is not None:
        grad_bias = (force.sum() * factor).view(bias.shape)
    factor *= ctx.number
    grad_q = product(force, rows.k, factor)
    if needs_scale and scale is not None:
        grad_scale = torch.linalg.vecdot(grad_q, rows.q).sum()
        grad_scale /= ctx.number * (2 if ctx.rule.views else 1)
        grad_scale = grad_scale.view(scale.shape)
    if needs_key and key is not None:
        grad_k = _across(product(force.t(), rows.q, factor), key, rows.k_length, rows.one)
    return _across(grad_q, query, rows.q_length, rows.one), grad_k, grad_scale, grad_bias


def _across(grad: Tensor, x: Tensor, length: Tensor | None, one: Tensor | None) -> Tensor:
    """The gradient of rows before they were scaled, if they were."""
    return grad if length is None or one is None else across(grad, working(x), length, one)


def _as_given(found: Iterable[Tensor | None], given: _Leaves) -> list[Tensor | None]:
    """Gradients in the formats of their leaves; what came in may have scaled them against those."""
    return [
        x if x is None or y is None or x.dtype == y.dtype else x.to(y.dtype)
        for x, y in zip(found, given, strict=True)
    ]
