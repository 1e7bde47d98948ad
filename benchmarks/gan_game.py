"""The games of docs/gan.md's tables, of several seeds at a time: gan.py, gan_pictures.py."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.pairs import seeded
from nearfar.recipes._gan_rival import log_odds
from nearfar.train._optimiser import learning_rate

GAMES = ("plain", "relativistic", "contrastive")


@dataclass(frozen=True)
class Way:
    """How to train: the discriminator's game, and what is added to it.

    Attributes:
        game: One of `GAMES`.
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

    def __post_init__(self) -> None:
        if self.game not in GAMES:
            raise ValueError(f"game={self.game!r}: wanted one of {', '.join(GAMES)}.")


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
    """What the discriminator sees: with jitter, several at a time."""
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


class Figures:
    """What was measured, in a file: title to way to seeds, their CPU seconds and a row each."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.every = json.loads(file.read_text()) if file.is_file() else {}

    def missing(self, title: str, name: str, seeds: Sequence[int]) -> list[int]:
        """The seeds that were not measured yet."""
        held = self.every.get(title, {}).get(name, {"seeds": []})["seeds"]
        return [seed for seed in seeds if seed not in held]

    def add(
        self, title: str, name: str, seeds: list[int], seconds: float, rows: list[dict[str, float]]
    ) -> None:
        """Beside what other processes have written meanwhile."""
        self.every = json.loads(self.file.read_text()) if self.file.is_file() else {}
        ways = self.every.setdefault(title, {})
        entry = ways.setdefault(name, {"seeds": [], "cpu_seconds": 0.0, "rows": []})
        entry["seeds"] += seeds
        entry["cpu_seconds"] = round(entry["cpu_seconds"] + seconds, 1)
        entry["rows"] += rows
        self.file.write_text(json.dumps(self.every, indent=1) + "\n")

    def tables(self, columns: dict[str, int]) -> str:
        """Mean ± standard error over seeds, with so many digits; the lowest of high quality."""
        lines = []
        for title, ways in self.every.items():
            rows = [row for entry in ways.values() for row in entry["rows"]]
            heads = [head for head in columns if head in rows[0]]
            lowest = ["lowest quality"] if "quality" in heads else []
            names = [*heads, *lowest, "seeds", "CPU s"]
            lines += [f"{title}:", "", "| | " + " | ".join(names) + " |"]
            lines += ["|---" * (len(names) + 1) + "|"]
            for name, entry in ways.items():
                cells = [spread([row[x] for row in entry["rows"]], columns[x]) for x in heads]
                cells += [f"{min(row['quality'] for row in entry['rows']):.3f}" for _ in lowest]
                each = entry["cpu_seconds"] / len(entry["seeds"])
                cells += [str(len(entry["seeds"])), f"{each:.0f}"]
                lines.append(f"| {name} | " + " | ".join(cells) + " |")
            lines.append("")
        return "\n".join(lines)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard error."""
    every = torch.tensor(values).double()
    cell = f"{every.mean():.{digits}f}"
    if len(values) > 1:
        cell += f" ± {float(every.std()) / math.sqrt(len(values)):.{digits}f}"
    return cell
