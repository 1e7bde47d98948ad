"""The players: generators with their running averages, and the plain GAN that trains beside."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders import Encoder, Generator
from nearfar.errors import NearfarError
from nearfar.files import replace_bytes, replace_text
from nearfar.model import describe, rebuild
from nearfar.pairs import seeded

# Moves after which the samples of the fixed noise are kept.
TIMES = (0, 100, 300, 1000, 3000, 10_000, 30_000)


class Player(nn.Module):
    """A generator and the running average of its weights, which is what is judged and saved.

    Args:
        generator: Begins with the weights that it has.
        shown: Fixed noise whose samples are kept for the report.
        keep: Share of itself that the average keeps at a move; less at the beginning.
    """

    moves: Tensor
    noise: Tensor
    sketches: Tensor

    def __init__(self, generator: Generator, shown: int, keep: float = 0.999) -> None:
        super().__init__()
        self.generator, self.keep = generator, keep
        self.average = deepcopy(generator).requires_grad_(False)
        # In a tuple: it is no part of what is trained or kept.
        self._first = (deepcopy(self.average),)
        with torch.no_grad():
            noise = torch.randn(shown, generator.latent)
            sketch = self.average(noise)
        self.register_buffer("moves", torch.zeros((), dtype=torch.int64))
        self.register_buffer("noise", noise)
        self.register_buffer("sketches", sketch.repeat(len(TIMES), *[1] * sketch.ndim))

    @torch.no_grad()
    def moved(self) -> None:
        """Follow the generator, and keep a sketch where it is time."""
        self.moves += 1
        moves = int(self.moves)
        keep = min(self.keep, (1 + moves) / (10 + moves))
        for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)
        if moves in TIMES:
            self.sketches[TIMES.index(moves)] = self.average(self.noise)

    def history(self) -> dict[int, Tensor]:
        """Moves to samples of the same noise, the latest last."""
        with torch.no_grad():
            latest = self.average(self.noise)
        past = dict(zip(TIMES, self.sketches, strict=True))
        moves = int(self.moves)
        return {time: past[time] for time in TIMES if time < moves} | {moves: latest}

    def sample(self, number: int, seed: int = 0) -> NDArray[np.float32]:
        """As many fakes of the average, the same for the same seed."""
        return samples(self.average, number, seed)

    def first(self, number: int) -> NDArray[np.float32]:
        """`sample` before the first move."""
        return samples(self._first[0], number)

    def save(self, folder: Path) -> None:
        """Write the average: ``generator.safetensors`` and ``config.json``."""
        weights = {name: x.contiguous() for name, x in self.average.state_dict().items()}
        replace_bytes(folder / "generator.safetensors", save(weights))
        replace_text(folder / "config.json", json.dumps(describe(self.average)) + "\n")

    def load(self, folder: Path) -> None:
        """Take the average that `save` wrote."""
        self.average.load_state_dict(load_generator(folder).state_dict())


@torch.no_grad()
def samples(generator: Generator, number: int, seed: int = 0) -> NDArray[np.float32]:
    """As many fakes, the same for the same seed, a thousand in memory at a time.

    Args:
        generator: Wherever it is.
        number: Fakes.
        seed: Of the noise.
    """
    with seeded(seed):
        starts = range(0, number, 1000)
        parts = [generator.draw(min(1000, number - start)) for start in starts]
    drawn: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return drawn


def load_generator(folder: str | Path) -> Generator:
    """A trained generator, on the CPU: ``samples(load_generator(folder), 100)``.

    Args:
        folder: Such as ``runs/gan/model/contrastive_GAN``.

    Raises:
        NearfarError: It holds no generator.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        generator = rebuild(config, Generator)
        generator.load_state_dict(load_file(folder / "generator.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, NearfarError):
            raise
        raise NearfarError(
            f"folder={str(folder)!r} holds no generator that can be loaded ({error}). Wanted a "
            "folder such as runs/gan/model/contrastive_GAN."
        ) from error
    return generator.eval()


class PlainGAN(nn.Module):
    """The discriminator of a plain GAN (Goodfellow et al. 2014, arXiv 1406.2661), of one number.

    Args:
        encoder: The body, of the contrastive discriminator's kind.
        player: Its generator, which trains with the rival and is no part of this module.
    """

    def __init__(self, encoder: Encoder, player: Player) -> None:
        super().__init__()
        self.body = nn.Sequential(encoder, nn.LeakyReLU(0.2), nn.Linear(encoder.dim, 1))
        self._player = (player,)

    @property
    def player(self) -> Player:
        """Its generator."""
        return self._player[0]

    def loss(self, real: Tensor, prepare: Callable[[Any], Any]) -> Tensor:
        """Of the discriminator: cross-entropy."""
        with torch.no_grad():
            fake = prepare(self.player.generator.draw(len(real)))
        return (
            functional.softplus(-self.body(real)).mean()
            + functional.softplus(self.body(fake)).mean()
        )

    def rival_loss(self, number: int, prepare: Callable[[Any], Any]) -> Tensor:
        """Of the generator: non-saturating."""
        fake = prepare(self.player.generator.draw(number))
        return functional.softplus(-self.body(fake)).mean()
