"""Several objectives, one gradient: their sum, or what a TorchJD aggregator makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.experiment import Aggregator
from nearfar.loss._ranks import Ranks
from nearfar.train._together import of_the_first


class Objectives:
    """Adds the gradient of several losses to every ``.grad``.

    What only one of them reaches (a temperature, a classifier) gets that one's gradient. For what
    several reach, an aggregator weighs the rows of their Jacobian. Gradients and Jacobian are the
    mean over all ranks, and an aggregator that draws lots draws them once for all.

    Args:
        learner: What has parameters.
        aggregator: ``sum``, or the name of a TorchJD aggregator.
        backward: Called with the sum in place of its ``backward()``.
    """

    def __init__(
        self, learner: nn.Module, aggregator: Aggregator, backward: Callable[[Tensor], object]
    ) -> None:
        self._parameters = [p for p in learner.parameters() if p.requires_grad]
        self._aggregate = None if aggregator == "sum" else _aggregator(aggregator)
        self._backward = backward

    def __call__(self, losses: Sequence[Tensor]) -> None:
        """One gradient of these losses, which are multiplied by their weights already."""
        ranks = Ranks()
        if self._aggregate is None:
            self._backward(torch.stack([loss.float() for loss in losses]).sum())
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad = ranks.mean(parameter.grad)
            return
        rows = [
            torch.autograd.grad(loss, self._parameters, retain_graph=True, allow_unused=True)
            for loss in losses
        ]
        shared, jacobian = [], []
        for parameter, *parts in zip(self._parameters, *rows, strict=True):
            reached = [part for part in parts if part is not None]
            if len(reached) > 1:
                filled = [torch.zeros_like(parameter) if x is None else x for x in parts]
                shared.append(parameter)
                jacobian.append(torch.stack([x.flatten() for x in filled]))
            elif reached:
                parameter.grad = ranks.mean(reached[0])
        if shared:
            combined = of_the_first(self._aggregate(ranks.mean(torch.cat(jacobian, dim=1))))
            sizes = [parameter.numel() for parameter in shared]
            for parameter, part in zip(shared, torch.split(combined, sizes), strict=True):
                parameter.grad = part.view_as(parameter)


def _aggregator(name: Aggregator) -> Any:
    try:
        from torchjd import aggregation

        makers: dict[str, Callable[[], Any]] = {
            "upgrad": aggregation.UPGrad,
            "pcgrad": aggregation.PCGrad,
            "mgda": aggregation.MGDA,
            "cagrad": lambda: aggregation.CAGrad(c=0.5),
            "alignedmtl": aggregation.AlignedMTL,
        }
        return makers[name]()
    except ImportError as error:
        raise NearfarError(
            f"aggregator={name!r} comes from the package torchjd ({error}). "
            "pip install 'nearfar[harmony]' brings it; --aggregator sum needs nothing."
        ) from error
