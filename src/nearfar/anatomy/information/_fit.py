"""Learning a critic: InfoNCE on batches, stopped by validation pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from nearfar.anatomy.information._game import play

Pairs = tuple[Tensor, Tensor]
Watch = Callable[[int, float], None]

_BATCH, _STEPS = 128, 3000
_EVERY, _PATIENCE, _SLACK = 50, 8, 0.5
_LEARNING_RATE, _DECAY, _MEMORY = 3e-3, 1e-2, 0.98


def fit(
    critic: nn.Module,
    train: Pairs,
    validation: Pairs,
    generator: torch.Generator,
    watch: Watch | None,
) -> nn.Module:
    """Learn, and return the critic that was best on the validation pairs.

    It is a running average of the learned weights, which one batch's chance moves little.

    Args:
        critic: Gives (N, M) scores of N anchors with M candidates; its weights are changed.
        train: (N, DX) and (N, DY), row i of both a pair.
        validation: The same.
        generator: Draws the batches.
        watch: Called with the step and the validation estimate in nats.
    """
    optimiser = torch.optim.AdamW(critic.parameters(), lr=_LEARNING_RATE, weight_decay=_DECAY)
    mean, ceiling = deepcopy(critic), math.log(len(validation[0]))
    best, kept, at = nats(mean, *validation), deepcopy(mean), 0
    x, y = train
    batches = _batches(len(x), generator)
    for step in range(1, _STEPS + 1):
        rows = next(batches).to(x.device)
        scores = critic(x[rows], y[rows])
        # Both ways: x looks for its y, and y for its x.
        levels = (scores.logsumexp(1) + scores.logsumexp(0)) / 2
        optimiser.zero_grad()
        (levels - scores.diagonal()).mean().backward()
        optimiser.step()
        # The first averages forget the start sooner.
        share = max(1 - _MEMORY, 1 / (step + 1))
        with torch.no_grad():
            for average, now in zip(mean.parameters(), critic.parameters(), strict=True):
                average.lerp_(now, share)
        if step % _EVERY == 0:
            found = nats(mean, *validation)
            if watch is not None:
                watch(step, found)
            if found > best:
                best, kept, at = found, deepcopy(mean), step
            # Once nearly all validation pairs are told apart, more steps only inflate scores.
            if best > ceiling - _SLACK or step - at >= _PATIENCE * _EVERY:
                break
    return kept


def nats(critic: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> float:
    """log K - L with all pairs as candidates."""
    return math.log(len(x)) - play(critic, x, y)[0].mean().item()


def _batches(count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows in random order, again and again."""
    while True:
        order = torch.randperm(count, generator=generator)
        yield from torch.split(order[: max(1, count // _BATCH) * _BATCH], _BATCH)
