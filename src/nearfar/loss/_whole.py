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
from nearfar.loss._numbers import SHORTEST, across, exact, measured, working
from nearfar.loss.push import LOG, gradients, product, similarities

# Entries of the matrix: beyond, there is more to win than overhead.
MOST = 2048 * 2048


class Rule(Protocol):
    """A loss as a function of the matrix of similarities; `_whole_rules` has them."""

    views: bool

    def loss(self, tile: Tensor, scale: float) -> tuple[Tensor, float, list[Tensor]]:
        """Losses, what their sum is multiplied by for the mean, and what `force` needs.

        The losses are (N,); (2, N) where both sides ask; 0-dim, their sum, where each is asked for
        by nobody.

        Args:
            tile: (N, M) similarities, to be overwritten.
            scale: 1 / temperature.

        Raises:
            OutOfRangeError: Exponentials leave the number range, or a crowd is empty.
        """

    def force(self, tile: Tensor, kept: list[Tensor], grad: Tensor | None) -> Tensor:
        """dL / d(scale s) of the matrix; of views, added to its transpose.

        Args:
            tile: What `loss` has made of it.
            kept: What `loss` has kept.
            grad: (N,) what comes in for each row; None: one.
        """


class OutOfRangeError(Exception):
    """The long way round is needed."""


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
    columns = query if key is None else key
    rows, others = query.shape[0], columns.shape[0]
    if rows * others > MOST:
        return None
    try:
        loss: Tensor = _Whole.apply(query, key, scale, bias, rule, again, normalize, reduction)  # type: ignore[no-untyped-call]
    except OutOfRangeError:
        return None
    LOG.debug("dense, in one node, for %s x %s", rows, others)
    return loss


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
        q, q_length = _unit(query, normalize)
        k, k_length = (q, q_length) if key is None else _unit(key, normalize)
        number = scale.item() if isinstance(scale, Tensor) else scale
        if not 0 < number < math.inf:
            raise OutOfRangeError
        with exact(q):
            tile = similarities(q, k)
            loss, share, kept = rule.loss(tile, number)
        if reduction == "none" and loss.ndim == 2:
            loss = loss.mean(0)
        total = loss.sum() if loss.ndim else loss
        if not math.isfinite(total.item()):
            raise OutOfRangeError
        ctx.rule, ctx.again, ctx.number = rule, again, number
        if reduction == "sum":
            share *= len(q)
        ctx.share = share
        tensors = [x if isinstance(x, Tensor) else None for x in (query, key, scale, bias)]
        ctx.save_for_backward(*tensors, q, q_length, k, k_length, tile, *kept)
        return loss if reduction == "none" else total * share

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, bias, q, q_length, k, k_length, tile, *kept = ctx.saved_tensors
        if torch.is_grad_enabled() or many(grad):

            def again(query: Tensor, key: Any, scale: Tensor | None, bias: Any) -> list[Tensor]:
                return [ctx.again(query, key, ctx.number if scale is None else scale, bias)]

            return *gradients(again, (query, key, scale, bias), [grad]), None, None, None, None
        if grad.ndim:
            top, (grad,) = measured(grad)
            force, factor = ctx.rule.force(tile, kept, grad), top.item()
        else:
            force, factor = ctx.rule.force(tile, kept, None), grad.item() * ctx.share
        needs = ctx.needs_input_grad
        grad_k = grad_scale = grad_bias = None
        with exact(q):
            if needs[3]:
                grad_bias = (force.sum() * factor).to(bias.dtype).view(bias.shape)
            grad_q = product(force, k, factor * ctx.number)
            if needs[2]:
                grad_scale = torch.linalg.vecdot(grad_q, q).sum()
                grad_scale /= ctx.number * (2 if ctx.rule.views else 1)
                grad_scale = grad_scale.to(scale.dtype).view(scale.shape)
            if key is not None and needs[1]:
                grad_k = product(force.T, q, factor * ctx.number)
                grad_k = _back(grad_k, k, k_length).to(query.dtype)
            grad_q = _back(grad_q, q, q_length).to(query.dtype)
        return grad_q, grad_k, grad_scale, grad_bias, None, None, None, None


def _unit(x: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
    x = working(x)
    if not normalize:
        return x, None
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    if not length.numel() or not length.min().item() > SHORTEST:
        raise OutOfRangeError
    return x / length, length


def _back(grad: Tensor, unit: Tensor, length: Tensor | None) -> Tensor:
    return grad if length is None else across(grad, unit, length)
