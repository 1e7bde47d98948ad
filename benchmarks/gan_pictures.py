"""Pictures of docs/gan.md: python benchmarks/gan_pictures.py stacked_digits|FOLDER [--seeds 3 4]

The recipe's networks, data, batch and judge; every way of gan.py that has a place here, at the same
rate and schedule; one seed after another. Figures are added to those in
benchmarks/results/gan_pictures.json.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from gan_game import Way, play
from torch import Tensor, nn

from nearfar.encoders import PictureCritic, PictureGenerator
from nearfar.pairs import seeded
from nearfar.recipes._gan_data import Data, find
from nearfar.recipes.gan import samples

RESULTS = Path(__file__).parent / "results" / "gan_pictures.json"
BATCH, WIDTH = 64, 16
WAYS = {
    "plain": Way(),
    "plain + penalty": Way(penalty=0.2),
    "relativistic + penalty": Way("relativistic", 0.2),
    "contrastive + penalty": Way("contrastive", 0.05),
    "contrastive + penalty 0.2, temperature 0.5": Way("contrastive", 0.2, tau=0.5),
    "contrastive + penalty, sharp": Way("contrastive", 0.2, tau=0.1),
}


class Rows(nn.Module):
    """A network of pictures as one of rows, (1, N, numbers) on both sides."""

    def __init__(self, network: nn.Module, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.before = network, before
        self.after: Callable[[Tensor], Tensor] = lambda x: x

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of each row."""
        made: Tensor = self.after(self.network(self.before(x[0])))
        return made.flatten(1)[None]


def train(data: Data, way: Way, seed: int, steps: int) -> tuple[PictureGenerator, float]:
    """A generator, and its CPU seconds."""
    size = data.size or 0
    with seeded(seed):
        make = Rows(PictureGenerator(size, WIDTH), lambda z: z)
        body: nn.Module = PictureCritic(size, WIDTH, 32)
        if way.game != "contrastive":
            body = nn.Sequential(body, nn.LeakyReLU(0.2), nn.Linear(32, 1))
    make.after = data.reader.prepare
    look = Rows(body, lambda x: x.view(-1, 3, size, size))

    def reals(number: int) -> Tensor:
        some: Tensor = data.items[torch.randint(len(data.items), (number,))]
        prepared: Tensor = data.reader.prepare(some)
        return prepared.flatten(1)[None]

    mean, seconds = play(way, look, make, reals, (BATCH, make.network.latent), [seed], steps)
    return mean.network, seconds


def tables() -> list[str]:
    """Everything that was measured: mean ± standard error over seeds."""
    lines = []
    for title, ways in json.loads(RESULTS.read_text()).items():
        heads = list(next(iter(ways.values()))["rows"][0])
        lines += [f"{title}:", "", "| | " + " | ".join([*heads, "seeds", "CPU s"]) + " |"]
        lines += ["|---" * (len(heads) + 3) + "|"]
        for name, found in ways.items():
            cells = []
            for head in heads:
                values = torch.tensor([row[head] for row in found["rows"]]).double()
                error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else 0.0
                cells.append(f"{values.mean():.3f} ± {error:.3f}")
            number = len(found["seeds"])
            each = found["cpu_seconds"] / number
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {number} | {each:.0f} |")
        lines.append("")
    return lines


def main() -> None:
    """Measure and keep the figures."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("path", help="stacked_digits, a folder of pictures, or tables")
    parse.add_argument("--size", type=int, help="of a folder's pictures")
    parse.add_argument("--seeds", type=int, nargs="+", default=[0])
    parse.add_argument("--steps", type=int, default=3000)
    parse.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parse.add_argument("--rate", type=float, default=1.5e-3)
    given = parse.parse_args()
    if given.path == "tables":
        print("\n".join(tables()))
        return
    torch.set_num_threads(1)
    data = find(given.path, given.size)
    what = "stacked_digits" if given.path == "stacked_digits" else f"folder, {data.size} pixels"
    title = f"{what}, {given.steps} steps, rate {given.rate}"
    for seed in given.seeds:
        for name in given.ways:
            way = replace(WAYS[name], rate=given.rate)
            make, seconds = train(data, way, seed, given.steps)
            row = data.probe({"made": partial(samples, make)}).score({}).rows["made"]
            kept = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
            ways = kept.setdefault(title, {})
            entry = ways.setdefault(name, {"seeds": [], "cpu_seconds": 0.0, "rows": []})
            entry["seeds"].append(seed)
            entry["cpu_seconds"] = round(entry["cpu_seconds"] + seconds, 1)
            entry["rows"].append({key: round(value, 4) for key, value in row.items()})
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
            print(name, seed, f"{seconds:.0f} s", entry["rows"][-1], flush=True)


if __name__ == "__main__":
    main()
