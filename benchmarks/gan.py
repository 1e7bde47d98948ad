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
from pathlib import Path

import torch
from gan_game import Way, play
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
