"""The game of a contrastive discriminator: the generator's move, and what holds the slopes down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.experiment import Auxiliary, Rival
from nearfar.loss import Temperature
from nearfar.model import Model
from nearfar.pairs import Batch
from nearfar.pairs.points import REAL
from nearfar.probes import Sampler
from nearfar.recipes._gan_players import PlainGAN, Player


class RealGame(nn.Module):
    """InfoNCE whose queries are reals, their partners the other reals and the crowd the fakes.

    The loss is -log of the partners' share of the softmax: the sum over positives inside the
    logarithm (`nearfar.info_nce` with ``form="in"``, but for the constant log(partners)). A query
    may choose its partners: it needs no nearness to reals of another mode.

    Args:
        temperature: Divides the cosines.
    """

    def __init__(self, temperature: Temperature) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, query: Tensor, key: Tensor, *, ids: Tensor) -> Tensor:
        """The mean over real queries, 0-dim.

        Args:
            query: (N, D); rows that are fakes ask nothing.
            key: (N, D).
            ids: (N,) the kind of query i and of key i.
        """
        real = ids == REAL
        odds = log_odds(query[real], key[real], key[~real], self.temperature())
        return functional.softplus(-odds).mean()


class GeneratorRival(Rival):
    """Plays the discriminator's game with partners and crowd exchanged.

    Args:
        player: The generator.
        game: The discriminator's objective.
        plain: A plain GAN that trains beside; neither game touches the other.

    Attributes:
        player: The generator.
        opponent: The plain GAN's, or None.
    """

    def __init__(self, player: Player, game: RealGame, plain: PlainGAN | None) -> None:
        super().__init__()
        self.player = player
        self.opponent = plain.player if plain else None
        # In tuples: they train with the discriminator.
        self._plain, self._game = (plain,), (game,)

    @property
    def players(self) -> Mapping[str, Player]:
        """By the name of their game."""
        both = {"contrastive GAN": self.player, "plain GAN": self.opponent}
        return {name: player for name, player in both.items() if player is not None}

    def forward(self, model: Model, batch: Batch) -> Tensor:
        """Its fakes want to be the reals' partners; the plain GAN's generator beside."""
        # Half precision has no digits for the odds of narrow modes.
        with torch.autocast(batch.ids.device.type, enabled=False):
            prepare, (game,), (plain,) = model.reader.prepare, self._game, self._plain
            real = batch.ids == REAL
            number = int(real.sum())
            fake = prepare(self.player.generator.draw(number))
            seen = model(torch.cat([batch.query[real], batch.key[real], fake]))
            query, own, other = seen.chunk(3)
            odds = log_odds(query, own, other, game.temperature())
            loss = functional.softplus(odds).mean()
            if plain is not None:
                beside = plain.rival_loss(number, prepare)
                loss = loss + beside - beside.detach()  # its gradient; the loss shown is the game's
        return loss

    def moved(self) -> None:
        for player in self.players.values():
            player.moved()

    def samplers(self) -> dict[str, Sampler]:
        """Everybody who is judged: the players, and the generator before its first move."""
        made: dict[str, Sampler] = {"learned": self.player.sample, "untrained": self.player.first}
        return made if self.opponent is None else made | {"plain GAN": self.opponent.sample}

    def save(self, folder: Path) -> None:
        """Write every generator's average beside the model."""
        for name, player in self.players.items():
            player.save(folder / name.replace(" ", "_"))

    def load(self, folder: Path) -> None:
        """Take the averages that `save` wrote."""
        for name, player in self.players.items():
            player.load(folder / name.replace(" ", "_"))


class Referee(Auxiliary):
    """The penalty on slopes; and the plain GAN's discriminator, which trains beside.

    A key's slope is that of all queries' log-odds (`log_odds`) in that key's input, and the penalty
    is gamma / 2 times its mean square, at reals (R1) and at fakes (R2). Queries are held fixed.

    Args:
        game: The discriminator's objective, whose temperature counts.
        gamma: Strength of the penalty.
        plain: A plain GAN, or None.
    """

    def __init__(self, game: RealGame, gamma: float, plain: PlainGAN | None) -> None:
        super().__init__()
        self.gamma, self.plain = gamma, plain
        self._game = (game,)

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        """The penalty, with the plain discriminator's gradient."""
        with torch.autocast(vectors.device.type, enabled=False):
            loss = vectors.float().sum() * 0
            if self.gamma:
                # A mean over reals and a mean over fakes.
                loss = self.gamma * self.slopes(model, batch).square().sum(1).mean()
            if self.plain is not None:
                beside = self.plain.loss(batch.query[batch.ids == REAL], model.reader.prepare)
                loss = loss + beside - beside.detach()
        return loss

    def slopes(self, model: Model, batch: Batch) -> Tensor:
        """(N, inputs) the slope of the queries' summed log-odds in each key, with a graph."""
        real = batch.ids == REAL
        key = batch.key.detach().requires_grad_()
        with torch.no_grad():
            query = model(batch.query[real])
        seen = model(key)
        odds = log_odds(query, seen[real], seen[~real], self._game[0].temperature())
        slope: Tensor = torch.autograd.grad(odds.sum(), key, create_graph=True)[0]
        return slope.flatten(1)


def log_odds(query: Tensor, partners: Tensor, crowd: Tensor, tau: Tensor | float) -> Tensor:
    """(..., Q): log sum_k exp s(q, k) over the partners, less the same over the crowd.

    Args:
        query: (..., Q, D).
        partners: (..., N, D).
        crowd: (..., N, D), as many: else chance is not zero.
        tau: The temperature that divides the cosines.
    """
    unit = functional.normalize(query.float(), dim=-1)
    own, other = (
        unit @ functional.normalize(x.float(), dim=-1).mT / tau for x in (partners, crowd)
    )
    odds: Tensor = own.logsumexp(-1) - other.logsumexp(-1)
    return odds
