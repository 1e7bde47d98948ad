"""A batch whose similarities fill one tile is made of overhead: all of it in one node.

Normalisation, similarities, push, pull and their gradients, with the matrix stored. What does not
fit in here (options, transforms, second derivatives, logits out of range, bad input) goes the long
way round, which says the same in more steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._numbers import SHORTEST, across, exact, working
from nearfar.loss.push import LOG

# Entries of the matrix: beyond one tile there is more to win than overhead.
MOST = 1024 * 1024


class Rule(Protocol):
    """A loss as a function of the matrix of similarities; `_whole_rules` has them."""

    views: bool

    def loss(self, tile: Tensor, scale: float) -> tuple[Tensor, float, list[Tensor]]:
        """(N,) losses, what their sum is multiplied by, and what `force` needs.

        Args:
            tile: (N, M) similarities, to be overwritten.
            scale: 1 / temperature.

        Raises:
            OutOfRangeError: Exponentials leave the number range, or a crowd is empty.
        """

    def force(self, tile: Tensor, kept: list[Tensor], grad: Tensor) -> Tensor:
        """dL / d(scale s) of the matrix; of views, added to its transpose.

        Args:
            tile: What `loss` has made of it.
            kept: What `loss` has kept.
            grad: (N,) or 0-dim, what comes in for each row.
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
    if len(query) * len(columns) > MOST or query.device.type != "cpu" or check.traced():
        return None
    try:
        loss: Tensor = _Whole.apply(query, key, scale, bias, rule, again, normalize, reduction)  # type: ignore[no-untyped-call]
    except OutOfRangeError:
        return None
    LOG.debug("dense, in one node, for %s x %s", len(query), len(columns))
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
        with exact(q):
            tile = torch.mm(q, k.T)
        number = scale.item() if isinstance(scale, Tensor) else scale
        loss, share, kept = rule.loss(tile, number)
        ctx.rule, ctx.again, ctx.number = rule, again, number
        ctx.share = share = share if reduction == "mean" else 1.0
        tensors = [x if isinstance(x, Tensor) else None for x in (query, key, scale, bias)]
        ctx.save_for_backward(*tensors, q, q_length, k, k_length, tile, *kept)
        return loss if reduction == "none" else loss.sum() * share

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, scale, bias, q, q_length, k, k_length, tile, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_twice(ctx, (query, key, scale, bias), grad), None, None, None, None
        force = ctx.rule.force(tile, kept, grad * ctx.share)
        needs = ctx.needs_input_grad
        grad_bias = force.sum().to(bias.dtype).view(bias.shape) if needs[3] else None
        with exact(q):
            grad_q = force @ k
            grad_k = force.T @ q if key is not None and needs[1] else None
        grad_scale = None
        if needs[2]:
            grad_scale = torch.linalg.vecdot(grad_q, q).sum().to(scale.dtype).view(scale.shape)
            grad_scale /= 2 if ctx.rule.views else 1
        grad_q = _back(grad_q.mul_(ctx.number), q, q_length).to(query.dtype)
        if grad_k is not None:
            grad_k = _back(grad_k.mul_(ctx.number), k, k_length).to(query.dtype)
        return grad_q, grad_k, grad_scale, grad_bias, None, None, None, None


def _unit(x: Tensor, normalize: bool) -> tuple[Tensor, Tensor | None]:
    x = working(x)
    if not normalize:
        return x, None
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(SHORTEST)
    return x / length, length


def _back(grad: Tensor, unit: Tensor, length: Tensor | None) -> Tensor:
    return grad if length is None else across(grad, unit, length)


def _twice(ctx: Any, inputs: tuple[Tensor | None, ...], grad: Tensor) -> list[Tensor | None]:
    query, key, scale, bias = inputs
    loss = ctx.again(query, key, ctx.number if scale is None else scale, bias)
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(loss, wanted, grad, create_graph=True))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]
