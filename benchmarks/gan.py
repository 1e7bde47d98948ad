"""The tables of docs/gan.md: python benchmarks/gan.py ring|grid|tables [--seeds 0 1] [--steps 2500]

Every way of training uses the recipe's networks, data, batch, steps and seeds. All but the classic
ones use its optimiser, too, and judge the running average of the generator. The networks of all
seeds train side by side in batched matrix products, each from its own seed; `nearfar train gan`
does the same with one. Figures are added to those in benchmarks/results/gan.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from gan_game import Figures, Way, play, spread
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders import PointGenerator, PointMLP
from nearfar.pairs import seeded
from nearfar.pairs.points import mixture
from nearfar.probes import ModeProbe, nearest_centre

RESULTS = Path(__file__).parent / "results" / "gan.json"
BATCH = 128


WAYS = {
    "plain, classic": Way(rate=1e-3, classic=True),
    "PacGAN2, classic": Way(pack=2, rate=1e-3, classic=True),
    "plain": Way(),
    "plain, rate 0.004": Way(rate=4e-3),
    "PacGAN2": Way(pack=2),
    "augmentation only": Way(jitter=0.02),
    "plain + penalty": Way(penalty=0.2),
    "relativistic + penalty": Way("relativistic", 0.2),
    "contrastive + penalty": Way("contrastive", 0.05),
    "contrastive, no penalty, sharp": Way("contrastive", tau=0.1),
    "contrastive + penalty, sharp": Way("contrastive", 0.2, tau=0.1),
    "contrastive + penalty, sharp, rate 0.004": Way("contrastive", 0.2, tau=0.1, rate=4e-3),
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


def train(kind: str, way: Way, seeds: list[int], steps: int) -> tuple[nn.Module, float]:
    """`play` among points, standardised."""
    source = mixture(kind)
    points = source.points(100_000, seed=0)[0] / source.scale

    def reals(number: int) -> Tensor:
        return points[torch.randint(len(points), (len(seeds), number))]

    return play(way, *networks(way, seeds), reals, (BATCH, 2), seeds, steps)


def judged(kind: str, make: nn.Module, seeds: list[int]) -> list[dict[str, float]]:
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


def main() -> None:
    """Measure what is missing, and keep the figures."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("kind", choices=["ring", "grid", "tables"])
    parse.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parse.add_argument("--steps", type=int, default=2500)
    parse.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    given = parse.parse_args()
    figures = Figures(RESULTS)
    if given.kind == "tables":
        print(figures.tables(COLUMNS))
        return
    torch.set_num_threads(1)
    title = f"{given.kind}, {given.steps} steps"
    for name in given.ways:
        seeds = figures.missing(title, name, given.seeds)
        if seeds:
            make, seconds = train(given.kind, WAYS[name], seeds, given.steps)
            rows = judged(given.kind, make, seeds)
            figures.add(title, name, seeds, seconds, rows)
            cells = [spread([row[x] for row in rows], COLUMNS[x]) for x in COLUMNS]
            print(title, name, f"{seconds:.0f} s", *cells, sep=" | ", flush=True)


if __name__ == "__main__":
    main()
