"""Weights of many clients to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    items = sum(count for _, count, _ in ordered)
    mean = {name: torch.zeros_like(x, dtype=torch.float64) for name, x in first.items()}
    for _, count, state in ordered:
        for name, x in difference(state, first).items():
            mean[name] += count / items * x
    out = shifted(first, mean)
    whole = [name for name, x in first.items() if not x.is_floating_point()]
    return out | {k: torch.stack([state[k] for _, _, state in ordered]).amax(0) for k in whole}


def difference(state: State, common: State) -> State:
    """What is averaged: the differences from common weights, in float64.

    The difference of a running variance is that of the second moment about the common mean, so that
    its average knows the spread of the clients' means.

    Args:
        state: A client's weights.
        common: Weights of the same names and shapes.
    """
    out = {name: x.double() - common[name].double() for name, x in state.items()}
    for name in out:
        if name.endswith(_VAR):
            out[name] += out[name.removesuffix(_VAR) + _MEAN] ** 2
    return out


def shifted(common: State, mean: Mapping[str, Tensor]) -> State:
    """Weights from common ones and the average of `difference`, in the types of the common ones."""
    out: State = {}
    for name, like in common.items():
        found = like.double() + mean[name]
        if name.endswith(_VAR):
            # Rounding may take a tiny variance below zero.
            found = (found - mean[name.removesuffix(_VAR) + _MEAN] ** 2).clamp(min=0)
        out[name] = (found if like.is_floating_point() else found.round()).to(like.dtype)
    return out


def same_shapes(a: State, b: State) -> bool:
    """Whether two sets of weights fit the same model."""
    return a.keys() == b.keys() and all(a[name].shape == b[name].shape for name in a)
