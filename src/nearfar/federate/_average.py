"""Weights of many clients to one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nearfar.errors import NearfarError

State = dict[str, Tensor]
_MEAN, _VAR = "running_mean", "running_var"


def average(states: Sequence[tuple[int, float, State]]) -> State:
    """The mean of weights, each counted by its number of items (McMahan et al. 2017, FedAvg).

    Sums are taken in float64 in the order of ids, so that the order in which clients answer changes
    nothing. A batch norm's running variance gets the spread of the clients' means too: it is the
    variance of all items together. Integers (counters) are the largest.

    Args:
        states: Id, items and weights of each client.

    Raises:
        NearfarError: No clients, or weights of other names or shapes.

    Example:
        >>> average([(2, 1, {"w": torch.tensor([4.0])}), (1, 3, {"w": torch.tensor([0.0])})])
        {'w': tensor([1.])}
    """
    if not states:
        raise NearfarError("states is empty; wanted the weights of one client or more.")
    ordered = sorted(states, key=lambda one: one[0])
    first = ordered[0][2]
    for node, _, state in ordered:
        if not same_shapes(first, state):
            raise NearfarError(
                f"The weights of client {node} have other names or shapes than those of client "
                f"{ordered[0][0]}; wanted one recipe, one encoder and one nearfar version on all."
            )
    items = [count for _, count, _ in ordered]
    every = [state for _, _, state in ordered]

    def mean(values: Sequence[Tensor]) -> Tensor:
        total = sum(n * x.double() for n, x in zip(items, values, strict=True))
        return torch.as_tensor(total) / sum(items)

    out: State = {}
    for name, like in first.items():
        if not like.is_floating_point():
            out[name] = torch.stack([state[name] for state in every]).amax(0)
            continue
        found = mean([state[name] for state in every])
        if name.endswith(_VAR):
            means = [state[name.removesuffix(_VAR) + _MEAN] for state in every]
            found = found + mean([x.double() ** 2 for x in means]) - mean(means) ** 2
        out[name] = found.to(like.dtype)
    return out


def same_shapes(a: State, b: State) -> bool:
    """Whether two sets of weights fit the same model."""
    return a.keys() == b.keys() and all(a[name].shape == b[name].shape for name in a)
