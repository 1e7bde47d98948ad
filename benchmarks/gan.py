"""The tables of docs/gan.md: python benchmarks/gan.py ring|grid|tables [--seeds 0 1] [--steps 2500]

Every way of training uses the recipe's networks, data, batch, steps and seeds. All but the classic
ones use its optimiser, too, and judge the running average of the generator. The networks of all
seeds train side by side in batched matrix products, each from its own seed; `nearfar train gan`
does the same with one. Figures are added to those in benchmarks/results/gan.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders import PointGenerator, PointMLP
from nearfar.pairs import seeded
from nearfar.pairs.points import mixture
from nearfar.probes import ModeProbe, nearest_centre
from nearfar.recipes._gan_rival import log_odds
from nearfar.train._optimiser import learning_rate

RESULTS = Path(__file__).parent / "results" / "gan.json"
BATCH, TAU = 128, 0.1


@dataclass(frozen=True)
class Way:
    """How to train: the discriminator's game, and what is added to it.

    Attributes:
        game: plain, relativistic or contrastive.
        penalty: On slopes, at reals and at fakes.
        pack: Samples that the discriminator sees at a time.
        jitter: Deviation of noise on all that the discriminator sees, in the data's deviations.
        rate: Highest learning rate.
        classic: Adam with beta1 = 0.8 and a constant rate, no running average.
    """

    game: str = "plain"
    penalty: float = 0.0
    pack: int = 1
    jitter: float = 0.0
    rate: float = 2e-3
    classic: bool = False


WAYS = {
    "plain, classic": Way(rate=1e-3, classic=True),
    "PacGAN2, classic": Way(pack=2, rate=1e-3, classic=True),
    "plain": Way(),
    "plain, rate 0.004": Way(rate=4e-3),
    "PacGAN2": Way(pack=2),
    "augmentation only": Way(jitter=0.02),
    "plain + penalty": Way(penalty=0.2),
    "relativistic + penalty": Way("relativistic", 0.2),
    "contrastive, no penalty": Way("contrastive"),
    "contrastive + penalty": Way("contrastive", 0.2),
    "contrastive + penalty, rate 0.004": Way("contrastive", 0.2, rate=4e-3),
}


class Side(nn.Module):
    """Networks of one shape as one, from (S, N, inputs) to (S, N, outputs)."""

    def __init__(self, networks: list[nn.Sequential], slope: float) -> None:
        super().__init__()
        self.slope = slope
        linears = [[x for x in net if isinstance(x, nn.Linear)] for net in networks]
        self.weights = nn.ParameterList(
            torch.stack([x.weight.detach().T for x in same]) for same in zip(*linears, strict=True)
        )
        self.biases = nn.ParameterList(
            torch.stack([x.bias.detach()[None] for x in same])
            for same in zip(*linears, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """All networks, each on its own rows."""
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = functional.leaky_relu(x, self.slope) if layer else x
            x = torch.baddbmm(bias, x, weight)
        return x


def networks(way: Way, seeds: list[int]) -> tuple[Side, Side]:
    """Discriminators and generators, each with its seed's weights."""
    looks, makes = [], []
    for seed in seeds:
        with seeded(seed):
            makes.append(PointGenerator().body)
            body = PointMLP(dim=32).body
            if way.game != "contrastive":
                body = nn.Sequential(*body, nn.LeakyReLU(0.2), nn.Linear(32, 1))
            body[0] = nn.Linear(2 * way.pack, 128)
            looks.append(body)
    return Side(looks, 0.2), Side(makes, 0.0)


def train(kind: str, way: Way, seeds: list[int], steps: int) -> tuple[Side, float]:
    """The generators, averaged where the way says so, and the CPU seconds of all together."""
    source = mixture(kind)
    points = source.points(100_000, seed=0)[0] / source.scale
    look, make = networks(way, seeds)
    mean = networks(way, seeds)[1].requires_grad_(False)
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
                return make(torch.randn(len(seeds), BATCH * way.pack, 2))

            real, again = (
                points[torch.randint(len(points), (len(seeds), BATCH * way.pack))] for _ in range(2)
            )
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
    return x.reshape(len(x), -1, 2 * way.pack)


def discriminator_loss(look: Side, way: Way, real: Tensor, again: Tensor, fake: Tensor) -> Tensor:
    """Summed over seeds."""
    partners, crowd = seen(way, again), seen(way, fake)
    if way.penalty:
        partners, crowd = partners.requires_grad_(), crowd.requires_grad_()
    own, other = look(partners), look(crowd)
    if way.game == "contrastive":
        query = look(seen(way, real))
        loss = functional.softplus(-log_odds(query, own, other, TAU))
        score = log_odds(query.detach(), own, other, TAU).sum()
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


def generator_loss(look: Side, way: Way, real: Tensor, again: Tensor, fake: Tensor) -> Tensor:
    """Summed over seeds."""
    other = look(seen(way, fake))
    if way.game == "contrastive":
        query, own = look(seen(way, real)), look(seen(way, again))
        loss = functional.softplus(log_odds(query, own, other, TAU))
    elif way.game == "relativistic":
        loss = functional.softplus(look(seen(way, again)) - other)
    else:
        loss = functional.softplus(-other)
    return loss.flatten(1).mean(1).sum()


def judged(kind: str, make: Side, seeds: list[int]) -> list[dict[str, float]]:
    """2,500 samples of each generator, named by the recipe's own probe."""
    source = mixture(kind)
    with torch.no_grad(), seeded(-1):
        points = make(torch.randn(len(seeds), 2500, 2)).numpy() * source.scale
    rows = []
    for own in points:
        probe = ModeProbe(
            samplers={"made": lambda number, own=own: own},
            real=lambda number, own=own: own,
            naming=nearest_centre(source.centres.numpy(), source.deviation),
            modes=len(source.centres),
            number=2500,
            quality="",
        )
        row = probe.score({}).rows["made"]
        row["modes"] = round(row["modes"] * len(source.centres))
        rows.append({name: round(value, 4) for name, value in row.items()})
    return rows


COLUMNS = {"modes": 1, "quality": 3, "evenness": 3, "rarest": 2}


def figures(rows: list[dict[str, float]]) -> list[str]:
    """Mean ± standard error over seeds, and the lowest share of high quality."""
    cells = []
    for name, digits in COLUMNS.items():
        values = torch.tensor([row[name] for row in rows]).double()
        cell = f"{values.mean():.{digits}f}"
        if len(values) > 1:
            cell += f" ± {float(values.std()) / math.sqrt(len(values)):.{digits}f}"
        cells.append(cell)
    return [*cells, f"{min(row['quality'] for row in rows):.3f}"]


def tables() -> list[str]:
    """Everything that was measured, as in docs/gan.md."""
    lines = []
    for title, ways in json.loads(RESULTS.read_text()).items():
        heads = ["modes", "high quality", "minus reverse KL", "rarest mode", "lowest quality"]
        lines += [f"{title}:", "", "| | " + " | ".join([*heads, "seeds", "CPU s"]) + " |"]
        lines += ["|---" * (len(heads) + 3) + "|"]
        for name in [way for way in WAYS if way in ways]:
            found = ways[name]
            each = found["cpu_seconds"] / len(found["seeds"])
            cells = [*figures(found["rows"]), str(len(found["seeds"])), f"{each:.0f}"]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def main() -> None:
    """Measure and keep the figures."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("kind", choices=["ring", "grid", "tables"])
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parse.add_argument("--steps", type=int, default=2500)
    parse.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parse.parse_args()
    if given.kind == "tables":
        print("\n".join(tables()))
        return
    torch.set_num_threads(1)
    for name in given.ways:
        make, seconds = train(given.kind, WAYS[name], given.seeds, given.steps)
        rows = judged(given.kind, make, given.seeds)
        kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        ways = kept.setdefault(f"{given.kind}, {given.steps} steps", {})
        entry = ways.setdefault(name, {"seeds": [], "cpu_seconds": 0.0, "rows": []})
        entry["seeds"] += given.seeds
        entry["cpu_seconds"] = round(entry["cpu_seconds"] + seconds, 1)
        entry["rows"] += rows
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        print(given.kind, name, f"{seconds:.0f} s", *figures(rows), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
