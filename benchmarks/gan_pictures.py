"""Pictures of docs/gan.md: python benchmarks/gan_pictures.py stacked_digits|FOLDER [--seeds 3 4]

The recipe's networks, data, batch and judge; every way of gan.py that has a place here, at the same
rate and schedule; one seed after another. Figures are added to those in
benchmarks/results/gan_pictures.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from gan_game import Figures, Way, play
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


COLUMNS = {"modes": 3, "quality": 3, "evenness": 3, "precision": 3, "recall": 3, "frechet": 2}


def main() -> None:
    """Measure what is missing, and keep the figures."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("path", help="stacked_digits, a folder of pictures, or tables")
    parse.add_argument("--size", type=int, help="of a folder's pictures")
    parse.add_argument("--seeds", type=int, nargs="+", default=[0])
    parse.add_argument("--steps", type=int, default=3000)
    parse.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parse.add_argument("--rate", type=float, default=1.5e-3)
    given = parse.parse_args()
    figures = Figures(RESULTS)
    if given.path == "tables":
        print(figures.tables(COLUMNS))
        return
    torch.set_num_threads(1)
    data = find(given.path, given.size)
    # Of a folder its name and its parent's: cifar/train.
    what = "/".join(Path(given.path).parts[-2:])
    title = f"{what}, {data.size} pixels, {given.steps} steps, rate {given.rate}"
    for seed in given.seeds:
        for name in given.ways:
            if figures.missing(title, name, [seed]):
                way = replace(WAYS[name], rate=given.rate)
                make, seconds = train(data, way, seed, given.steps)
                row = data.probe({"made": partial(samples, make)}).score({}).rows["made"]
                row = {key: round(value, 4) for key, value in row.items()}
                figures.add(title, name, [seed], seconds, [row])
                print(name, seed, f"{seconds:.0f} s", row, flush=True)


if __name__ == "__main__":
    main()
