"""What secure aggregation sums: changes of weights as one vector of bounded numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.federate._average import State, difference, shifted

# The largest number, either way: more would be coarser. A round moves weights by far less, running
# variances by up to tens, and counters by its steps, which are small after the scale.
BOUND = 64.0
_COUNTER = 2.0**-10


def packed(state: State, common: State) -> Tensor:
    """A client's change in a round, as a vector.

    Args:
        state: Its weights.
        common: Those that the round began from.

    Returns:
        (P,) float64 of all numbers in the order of the common weights, each within the bound.

    Raises:
        NearfarError: A change that is larger, or no number.
    """
    changes = difference(state, common)
    parts = []
    for name, like in common.items():
        part = changes[name].flatten() * _scale(like)
        if not (part.abs() <= BOUND).all():
            most = changes[name].abs().max().item()
            raise NearfarError(
                f"secure=True sums changes of up to {BOUND / _scale(like):g} a number, and "
                f"{name!r} changed by {most:.3g} in a round. Wanted a lower --lr, fewer "
                "--local-steps, --norms group where it is a running statistic, or --secure false."
            )
        parts.append(part)
    return torch.cat(parts)


def possible(mean: Tensor, common: State) -> bool:
    """Whether a vector can be the mean of vectors within the bound, rounded.

    Args:
        mean: (P,).
        common: The weights that the round began from.
    """
    fits = len(mean) == sum(like.numel() for like in common.values())
    return fits and bool((mean.abs() <= 1.01 * BOUND).all())


def unpacked(mean: Tensor, common: State) -> State:
    """The average weights.

    Args:
        mean: (P,) mean of clients' vectors.
        common: The weights that the round began from.
    """
    parts = torch.split(mean, [like.numel() for like in common.values()])
    pairs = zip(common.items(), parts, strict=True)
    return shifted(common, {k: part.view(x.shape) / _scale(x) for (k, x), part in pairs})


def _scale(like: Tensor) -> float:
    return 1.0 if like.is_floating_point() else _COUNTER
