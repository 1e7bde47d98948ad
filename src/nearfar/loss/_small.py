"""InfoNCE of a small batch: in one node, by as few operations as it takes."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nearfar.loss._rule import FEW, Rule
from nearfar.loss._whole import whole
from nearfar.loss._whole_rules import LogSoftmax, Softmax


def one_node(
    info_nce: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    scale: float | Tensor,
    *,
    both: bool,
    ids: Tensor | None,
    decoupled: bool,
    normalize: bool,
    reduction: str = "mean",
) -> Tensor | None:
    """The loss of a small batch, if `whole` has it.

    Args:
        info_nce: The long way round.
        query: (N, D).
        key: (N, D).
        scale: 1 / temperature.
        both: Keys ask as well.
        ids: See `info_nce`; so are the others.
    """

    def again(query: Tensor, key: Tensor, scale: float | Tensor, bias: None) -> Tensor:
        return info_nce(
            query,
            key,
            temperature=1 / scale,
            reduction=reduction,
            symmetric=both,
            ids=ids,
            decoupled=decoupled,
            normalize=normalize,
            group=None,
            backend="dense",
        )

    rules: list[Rule] = [Softmax(both=both, decoupled=decoupled, ids=ids)]
    if len(query) <= FEW and ids is None and not decoupled:
        rules.insert(0, LogSoftmax(both=both))
    for rule in rules:
        loss = whole(rule, query, key, scale, again, normalize=normalize, reduction=reduction)
        if loss is not None:
            return loss
    return None
