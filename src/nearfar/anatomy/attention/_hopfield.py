"""Attention as retrieval: one look is one step down the energy of an associative memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss.push import Crowd, Game, push


def hopfield_energy(state: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """E = -lse(beta X q) / beta + |q|^2 / 2 + log(N) / beta + M^2 / 2, (...,).

    X are the N patterns, M the greatest of their lengths. dE/dq = q - `hopfield_update`, so a
    gradient step of length one *is* attention, and it never raises E (Ramsauer et al. 2020,
    arXiv 2008.02217, "new energy function" and its update rule). Differentiable; no matrix of
    states by patterns is stored.

    Args:
        state: (..., D), any number of states.
        patterns: (N, D).
        beta: 1 / temperature, positive.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit, a beta that is not positive.

    Example:
        >>> patterns, state = torch.eye(3), torch.tensor([0.6, 0.3, 0.1])
        >>> reached = hopfield_update(state, patterns, beta=5.0)
        >>> bool(hopfield_energy(reached, patterns, 5.0) < hopfield_energy(state, patterns, 5.0))
        True
    """
    rows = _states(state, patterns, beta)
    game = Game(query=rows, key=patterns, scale=rows.new_tensor(beta), crowd=Crowd())
    count = rows.new_tensor(float(len(patterns)))
    longest = torch.linalg.vector_norm(patterns, dim=1).amax()
    lengths: Tensor = (rows.square().sum(1) + longest.square()) / 2
    return (lengths + (count.log() - push(game)[0]) / beta).view(state.shape[:-1])


def hopfield_update(state: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """sum_j p_j x_j, p = softmax(beta X q): attention with the patterns as keys and as values.

    Args:
        state: (..., D), any number of states.
        patterns: (N, D).
        beta: 1 / temperature, positive.

    Returns:
        (..., D), as ``state``.

    Raises:
        NearfarError: What `hopfield_energy` refuses.
    """
    rows = _states(state, patterns, beta)[None, None]
    keys = patterns[None, None]
    found = functional.scaled_dot_product_attention(rows, keys, keys, scale=beta)
    return found.reshape(state.shape)


def _states(state: Tensor, patterns: Tensor, beta: float) -> Tensor:
    """(n, D) of any number of states, checked."""
    check.matrix("patterns", patterns)
    if patterns.dtype in (torch.float16, torch.bfloat16):
        raise NearfarError(f"patterns is {patterns.dtype}; wanted float32: patterns.float().")
    if state.ndim == 0 or state.shape[-1] != patterns.shape[1] or not len(patterns):
        raise NearfarError(
            f"state has shape {tuple(state.shape)} and patterns {tuple(patterns.shape)}; wanted "
            "(..., dim) and (number, dim), at least one pattern."
        )
    check.same_kind("patterns", patterns, state, "state")
    if not 0 < beta < torch.inf:
        raise NearfarError(f"beta={beta}: wanted a positive, finite number, 1 / temperature.")
    return state.reshape(-1, state.shape[-1])
