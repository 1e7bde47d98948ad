"""The game between held-out pairs, block by block: no matrix of all scores is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Scores at a time; a small network keeps some 50 numbers for each.
_SCORES = 2**16


@torch.no_grad()
def play(critic: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every row of y is a candidate of every row of x.

    Args:
        critic: Gives (N, M) scores of N anchors with M candidates.
        x: (N, DX) anchors.
        y: (N, DY), row i the partner of anchor i.

    Returns:
        (N,) InfoNCE losses of the anchors, and (N,) the probability that each candidate draws from
        all anchors, 1 on average; both in float64.
    """
    losses, drawn = [], torch.zeros(len(y), dtype=torch.float64, device=y.device)
    for rows in torch.split(torch.arange(len(x), device=x.device), max(1, _SCORES // len(y))):
        scores = critic(x[rows], y).double()
        level = scores.logsumexp(1, keepdim=True)
        losses.append(level[:, 0] - scores.gather(1, rows[:, None])[:, 0])
        drawn += (scores - level).exp_().sum(0)
    return torch.cat(losses), drawn
