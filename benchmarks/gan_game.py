"""The games of docs/gan.md's tables, of several seeds at a time: gan.py, gan_pictures.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.pairs import seeded
from nearfar.recipes._gan_rival import log_odds
from nearfar.train._optimiser import learning_rate


@dataclass(frozen=True)
class Way:
    """How to train: the discriminator's game, and what is added to it.

    Attributes:
        game: plain, relativistic or contrastive.
        penalty: On slopes, at reals and at fakes.
        tau: The contrastive game's temperature.
        pack: Samples that the discriminator sees at a time.
        jitter: Deviation of noise on all that the discriminator sees, in the data's deviations.
        rate: Highest learning rate.
        classic: Adam with beta1 = 0.8 and a constant rate, no running average.
    """

    game: str = "plain"
    penalty: float = 0.0
    tau: float = 0.3
    pack: int = 1
    jitter: float = 0.0
    rate: float = 2e-3
    classic: bool = False


def play(
    way: Way,
    look: nn.Module,
    make: nn.Module,
    reals: Callable[[int], Tensor],
    size: tuple[int, int],
    seeds: list[int],
    steps: int,
) -> tuple[nn.Module, float]:
    """The generators, averaged where the way says so, and the CPU seconds of all together.

    Args:
        way: The game.
        look: (S, N, inputs) to (S, N, D): the discriminators of S seeds.
        make: (S, N, latent) to (S, N, inputs).
        reals: A number to (S, number, inputs).
        size: A batch and the latent numbers.
        seeds: S of them.
        steps: Of both.
    """
    batch, latent = size
    mean = deepcopy(make).requires_grad_(False)
    betas = (0.8, 0.999) if way.classic else (0.0, 0.99)
    players = [
        torch.optim.AdamW(x.parameters(), weight_decay=1e-4, betas=betas) for x in (look, make)
    ]
    began = time.process_time()
    with seeded(*seeds):
        for step in range(steps):
            rate = way.rate if way.classic else learning_rate(way.rate, 0.1, step, steps)
            for player in players:
                player.param_groups[0]["lr"] = rate

            def fakes() -> Tensor:
                made: Tensor = make(torch.randn(len(seeds), batch * way.pack, latent))
                return made

            real, again = reals(batch * way.pack), reals(batch * way.pack)
            with torch.no_grad():
                fake = fakes()
            players[0].zero_grad()
            discriminator_loss(look, way, real, again, fake).backward()
            players[0].step()
            look.requires_grad_(False)
            players[1].zero_grad()
            generator_loss(look, way, real, again, fakes()).backward()
            players[1].step()
            look.requires_grad_(True)
            keep = 0.0 if way.classic else min(0.999, (2 + step) / (11 + step))
            with torch.no_grad():
                for slow, now in zip(mean.parameters(), make.parameters(), strict=True):
                    slow.lerp_(now, 1 - keep)
    return mean, time.process_time() - began


def seen(way: Way, x: Tensor) -> Tensor:
    """What the discriminator sees of points: with jitter, several at a time."""
    if way.jitter:
        x = x + way.jitter * torch.randn_like(x)
    return x.reshape(len(x), -1, x.shape[2] * way.pack)


def discriminator_loss(
    look: nn.Module, way: Way, real: Tensor, again: Tensor, fake: Tensor
) -> Tensor:
    """Summed over seeds."""
    partners, crowd = seen(way, again), seen(way, fake)
    if way.penalty:
        partners, crowd = partners.requires_grad_(), crowd.requires_grad_()
    own, other = look(partners), look(crowd)
    if way.game == "contrastive":
        query = look(seen(way, real))
        loss = functional.softplus(-log_odds(query, own, other, way.tau))
        score = log_odds(query.detach(), own, other, way.tau).sum()
    elif way.game == "relativistic":
        loss, score = functional.softplus(other - own), (own - other).sum()
    else:
        loss = functional.softplus(-own) + functional.softplus(other)
        score = (own - other).sum()
    total = loss.flatten(1).mean(1).sum()
    if way.penalty:
        slopes = torch.autograd.grad(score, [partners, crowd], create_graph=True)
        total = total + way.penalty / 2 * sum(x.square().sum(2).mean(1).sum() for x in slopes)
    return total


def generator_loss(look: nn.Module, way: Way, real: Tensor, again: Tensor, fake: Tensor) -> Tensor:
    """Summed over seeds."""
    other = look(seen(way, fake))
    if way.game == "contrastive":
        query, own = look(seen(way, real)), look(seen(way, again))
        loss = functional.softplus(log_odds(query, own, other, way.tau))
    elif way.game == "relativistic":
        loss = functional.softplus(look(seen(way, again)) - other)
    else:
        loss = functional.softplus(-other)
    return loss.flatten(1).mean(1).sum()
