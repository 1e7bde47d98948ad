"""A contrastive discriminator: a real is nearer to other reals than to a crowd of fakes.

Two players. The discriminator embeds, and plays InfoNCE: the query is a real, its partners are
other reals, the crowd is fakes. Reals are never each other's negatives: two samples of one mode
would be false ones. The generator plays the same game the other way round: its fakes want to be
what each real takes for its partners, so a mode without fakes costs. With one query, one partner
and one fake this is the relativistic pairing GAN (Huang et al. 2024, R3GAN, arXiv 2501.05441,
section 2). A penalty on the slopes of the log-odds at reals and fakes makes the game settle
(Mescheder et al. 2018, arXiv 1801.04406, equation 9; Roth et al. 2017, arXiv 1705.09367). It is no
port of ContraD (Jeong & Shin 2021, arXiv 2103.09742): no augmentations, and no second head.
"""

from __future__ import annotations

from copy import deepcopy

from nearfar.encoders import (
    Encoder,
    Generator,
    PictureCritic,
    PictureGenerator,
    PointGenerator,
    PointMLP,
)
from nearfar.errors import check_range
from nearfar.experiment import Experiment
from nearfar.loss import Temperature
from nearfar.model import Model
from nearfar.pairs.points import GamePairs
from nearfar.recipes._gan_data import find
from nearfar.recipes._gan_exhibits import exhibits
from nearfar.recipes._gan_players import PlainGAN, Player, load_generator, samples
from nearfar.recipes._gan_rival import GeneratorRival, RealGame, Referee

__all__ = ["gan", "load_generator", "samples"]


def gan(
    path: str,
    size: int | None = None,
    dim: int = 32,
    width: int | None = None,
    temperature: float = 0.3,
    penalty: float = 0.05,
    opponent: bool = True,
) -> Experiment:
    """Train a generator against a contrastive discriminator, and a plain GAN beside it.

    Args:
        path: ring (8 modes in the plane), grid (25 modes), stacked_digits (1,000 modes, 8 x 8
            pixels), or a folder of pictures.
        size: Side in pixels of a folder's pictures: 8, 16, 32 or 64; by default 32.
        dim: Numbers of the discriminator's vectors.
        width: Of the layers: 128 for points, 16 channels at full size for pictures.
        temperature: How sharply hard fakes are weighted; low is sharp, and a discriminator that is
            too sharp wins outright and teaches nothing.
        penalty: On the squared slopes of the discriminator's log-odds; 0 for none.
        opponent: Train a plain GAN of the same networks, steps and seed beside it, for the table.
    """
    check_range(8, size=size)
    check_range(1, dim=dim, width=width)
    check_range(0, penalty=penalty)
    tau = Temperature(temperature)
    data = find(path, size)
    wide = width or (128 if data.size is None else 16)

    body: Encoder
    maker: Generator
    if data.size is None:
        body, maker = PointMLP(wide, dim=dim), PointGenerator(wide, scale=data.scale)
    else:
        body, maker = PictureCritic(data.size, wide, dim), PictureGenerator(data.size, wide)
    # Both games begin with the same weights.
    plain = PlainGAN(deepcopy(body), Player(deepcopy(maker), data.shown)) if opponent else None
    game = RealGame(tau)
    rival = GeneratorRival(Player(maker, data.shown), game, plain)
    return Experiment(
        model=Model(data.reader, body),
        pairs=GamePairs(data.items, data.reader, data.names, maker.draw),
        objective=game,
        temperature=tau,
        auxiliaries={"referee": Referee(game, penalty, plain)},
        rival=rival,
        inputs=data.inputs,
        labels=data.labels,
        probe=data.probe(rival.samplers()),
        skipped=data.skipped,
        remarks=[data.summary],
        exhibits=lambda model: exhibits(rival, data),
        steps=data.steps,
        batch_size=min(128 if data.size is None else 64, len(data.items)),
        lr=2e-3 if data.size is None else 1.5e-3,
    )
