"""A batch whose similarities fill few tiles is made of overhead: all of it in one node.

Normalisation, similarities, push, pull and their gradients, with the matrix stored. What does not
fit in here (options, transforms, second derivatives, logits out of range, rows too short to be
scaled, bad input) goes the long way round, which says the same in more steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from nearfar.loss._check import many
from nearfar.loss._numbers import exact, measured, without_faint, working
from nearfar.loss._unit import across, scaled
from nearfar.loss.push import LOG, STEEP, gradients, product

# Entries of the matrix: beyond, there is more to win than overhead.
MOST = 1536 * 1536


class Rule(Protocol):
    """A loss as a function of the matrix of logits; `_whole_rules` has them.

    Attributes:
        views: The rows are each other's candidates.
        base: What logits are multiplied by before `loss` sees them.
    """

    views: bool
    base: float

    def least(self, scale: float) -> float:
        """A loss below this has lost digits, or its forces have."""

    def loss(self, tile: Tensor, scale: float, bound: float) -> tuple[Tensor, int, list[Tensor]]:
        """Losses, what their sum is divided by for the mean, and what `force` needs.

        The losses are (N,); (2, N) where both sides ask; (N, M) where every pair does.

        Args:
            tile: (N, M) logits, to be overwritten.
            scale: Of the logits, before the multiplication by ``base``.
            bound: No logit is further from zero, also before it.

        Raises:
            OutOfRangeError: Exponentials leave the number range, or a crowd is empty.
        """

    def force(
        self, tile: Tensor, kept: list[Tensor], grad: Tensor | None, scale: float
    ) -> tuple[Tensor, float]:
        """The gradient by the logits; of views, added to its transpose. And a factor of it.

        Args:
            tile: What `loss` has made of it.
            kept: What `loss` has kept.
            grad: (N,) what comes in for each row; None: one.
            scale: As for `loss`.
        """


class OutOfRangeError(Exception):
    """The long way round is needed."""


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
        # Past `Function.apply`, whose steps in Python serve transforms: `short` has seen none.
        loss: Tensor = super(torch.autograd.Function, _Whole).apply(  # type: ignore[no-untyped-call]
            query, key, scale, bias, rule, again, normalize, reduction
        )
    except OutOfRangeError:
        return None
    LOG.debug("dense, in one node, for %s x %s", rows, rows)
    return loss


_AS_GIVEN = (None, None, None, None, None)


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
        x, y = working(query), None if key is None else working(key)
        one = x.new_ones(x.shape[0], 1) if normalize else None
        q, q_length = _unit(x, one)
        k, k_length = (q, q_length) if y is None else _unit(y, one)
        with exact(q):
            tile = product(q, k.T, number * rule.base)
            loss, count, kept = rule.loss(tile, number, number if normalize else math.inf)
        if reduction == "none":
            loss = loss.mean(0) if loss.ndim == 2 else loss
            lowest, highest = (end.item() for end in loss.aminmax())
        else:
            means = 1 if reduction == "mean" else q.shape[0]
            count = max(1, count // means)
            loss = loss.mean() if count == loss.numel() else loss.sum() / count
            lowest = highest = loss.item() / means
        if not rule.least(number) <= lowest <= highest < math.inf:
            raise OutOfRangeError
        ctx.rule, ctx.again, ctx.number, ctx.count = rule, again, number, count
        learned = scale if isinstance(scale, Tensor) else None
        # What was only handed on is not saved twice.
        made = (one, q, q_length, None if k is q else k, k_length) if normalize else _AS_GIVEN
        ctx.save_for_backward(query, key, learned, bias, *made, tile, *kept)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, bias, one, q, q_length, k, k_length, tile, *kept = ctx.saved_tensors
        if torch.is_grad_enabled() or many(grad):

            def again(query: Tensor, key: Any, scale: Tensor | None, bias: Any) -> list[Tensor]:
                return [ctx.again(query, key, ctx.number if scale is None else scale, bias)]

            return *gradients(again, (query, key, scale, bias), [grad]), None, None, None, None
        if grad.ndim:
            top, (grad,) = measured(grad)
            force, factor = ctx.rule.force(tile, kept, grad, ctx.number)
            factor *= top.item()
        else:
            force, factor = ctx.rule.force(tile, kept, None, ctx.number)
            factor *= grad.item() / ctx.count
        if ctx.number > STEEP:
            without_faint(force)
        x, y = working(query), None if key is None else working(key)
        q = x if q is None else q
        k = (q if y is None else y) if k is None else k
        _, needs_key, needs_scale, needs_bias, *_ = ctx.needs_input_grad
        grad_k = grad_scale = grad_bias = None
        with exact(q):
            if needs_bias:
                grad_bias = (force.sum() * factor).to(bias.dtype).view(bias.shape)
            factor *= ctx.number
            grad_q = product(force, k, factor)
            if needs_scale:
                grad_scale = torch.linalg.vecdot(grad_q, q).sum()
                grad_scale /= ctx.number * (2 if ctx.rule.views else 1)
                grad_scale = grad_scale.to(scale.dtype).view(scale.shape)
            if needs_key and y is not None:
                grad_k = _given(product(force.T, q, factor), y, k_length, one, query.dtype)
            grad_q = _given(grad_q, x, q_length, one, query.dtype)
        return grad_q, grad_k, grad_scale, grad_bias, None, None, None, None


def _unit(x: Tensor, one: Tensor | None) -> tuple[Tensor, Tensor | None]:
    found = (x, None) if one is None else scaled(x, one)
    if found is None:
        raise OutOfRangeError
    return found


def _given(
    grad: Tensor, x: Tensor, length: Tensor | None, one: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The gradient of rows as they were given."""
    found = grad if length is None or one is None else across(grad, x, length, one)
    return found if found.dtype == dtype else found.to(dtype)
