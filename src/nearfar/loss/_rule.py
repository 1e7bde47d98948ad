"""What a loss says of its matrix of logits, where that is stored."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from nearfar.loss._room import large

# Rows up to which operations cost by their number, and not by what they go over.
FEW = 128
# Natural logarithm: beside this, what has underflowed in float32 does not count, nor in float64.
LOWEST = -59.0


class OutOfRangeError(Exception):
    """The long way round is needed."""


class Rule(Protocol):
    """A loss as a function of the matrix of logits.

    Attributes:
        views: The rows are each other's candidates.
        base: What logits are multiplied by before `loss` sees them.
        bias: What is then added to each.
    """

    views: bool
    base: float
    bias: float

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
            grad: (N,) what comes in for each row; None: one, and nobody asks again, so that both
                may be overwritten.
            scale: As for `loss`.
        """


def room(tile: Tensor) -> Tensor | None:
    """For another matrix of its size; None: wherever PyTorch puts it."""
    height, width = tile.shape
    return large(height, width, tile)
