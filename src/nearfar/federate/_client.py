"""A client: its own data, the average's weights, a few steps."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, replace

import torch
from torch import Tensor, nn

from nearfar.anatomy import contrastive_stats
from nearfar.anatomy._stats import QUERIES
from nearfar.errors import NearfarError
from nearfar.experiment import Experiment
from nearfar.federate._average import State, same_shapes
from nearfar.federate._federation import Federation
from nearfar.federate._game import BankGame
from nearfar.federate._messages import Answer, Ask, Hello, Shared, Task
from nearfar.federate._release import release
from nearfar.model import describe
from nearfar.pairs import LearningPairs, LonePairs, batch_rows, seeded
from nearfar.pairs._order import mix
from nearfar.train import device
from nearfar.train._optimiser import learning_rate, optimiser
from nearfar.train._step import Learner, Step

# Streams of randomness of a client beside that of its steps.
_RELEASE = -1
_ROUNDING = -2


class Client:
    """Trains an experiment on its own data for one round at a time, and forgets the round.

    Between rounds it keeps nothing: a round follows from the task, the data and the seed, wherever
    and whenever it is played.

    Args:
        experiment: What is learned; its pairs are the client's own.
        federation: How.
        owner: Its id, by which its own entries of the bank are kept from it.

    Raises:
        NearfarError: Pairs that learn in training, whose state a round would lose, or with an
            epsilon, pairs whose views show other items, too.
    """

    def __init__(self, experiment: Experiment, federation: Federation, owner: int) -> None:
        if isinstance(experiment.pairs, LearningPairs):
            raise NearfarError(
                "These pairs learn about the data while they train, and a client keeps nothing "
                "from round to round. Wanted a recipe or an option whose pairs are fixed."
            )
        if federation.epsilon is not None and not isinstance(experiment.pairs, LonePairs):
            raise NearfarError(
                f"epsilon={federation.epsilon} counts on each item being in one vector of a "
                "release, and these pairs do not say that a view shows a single item: neighbours "
                "or other windows may show too. Wanted pairs that do (`LonePairs`: images, dna, "
                "translation), or no epsilon."
            )
        self.owner, self.federation = owner, federation
        self._experiment, self._train = experiment, federation.train()
        self._device = torch.device(device(self._train))
        wanted = federation.batch_size or experiment.batch_size or 128
        self._batch_size = min(wanted, len(experiment.pairs))
        self._steps = federation.rounds * federation.local_steps
        self._learner = Learner(experiment).to(self._device)

    def hello(self) -> Hello:
        """What it would train, before its first step."""
        model = self._experiment.model
        parts = {"reader": model.reader, "encoder": model.encoder, "head": model.head}
        return Hello(
            owner=self.owner,
            items=len(self._experiment.pairs),
            weights=self._weights(),
            model={name: describe(part) if part else None for name, part in parts.items()}
            | {"embedding": model.embedding},
        )

    def share(self, ask: Ask) -> Shared:
        """Entries for the bank, made by the average.

        Raises:
            NearfarError: Weights of another model.
        """
        federation, model = self.federation, self._experiment.model
        assert federation.share != "nothing"
        self._load(ask.weights)
        with seeded(self._train.seed, self.owner, ask.number, _RELEASE):
            keys = release(
                model,
                self._experiment.pairs,
                federation.share,
                count=federation.contribution,
                group=federation.group,
                noise=ask.noise,
                device=self._device,
            )
        return Shared(self.owner, ask.number, keys)

    def play(self, task: Task) -> Answer:
        """The local steps of a round.

        Raises:
            NearfarError: Weights of another model, or a loss that is no number.
        """
        experiment = self._experiment
        if len(task.crowd):
            self._load(task.anchor or task.weights)
            bank = BankGame(experiment.model, experiment.temperature, task.crowd, self.federation)
            more = {**experiment.auxiliaries, "bank": bank}
            experiment = replace(experiment, auxiliaries=more)
        self._load(task.weights)
        measures = self._steps_of(experiment, task.number)
        return Answer(
            owner=self.owner,
            number=task.number,
            weights=self._weights(),
            items=len(experiment.pairs),
            measures=measures,
        )

    def rounding(self, number: int) -> int:
        """A 32-bit seed for the rounding of what it sends in a round."""
        return mix(self._train.seed, self.owner, number, _ROUNDING) % 2**32

    def _load(self, weights: State) -> None:
        if not same_shapes(self._learner.state_dict(), weights):
            raise NearfarError(
                "The server's weights do not fit this client's model. Wanted one recipe, one "
                "encoder and one nearfar version on both sides, and a reader that does not depend "
                "on the data."
            )
        self._learner.load_state_dict(weights)

    def _steps_of(self, experiment: Experiment, number: int) -> dict[str, float]:
        train, learner, tau = self._train, self._learner, experiment.temperature
        play = Step(experiment, train, learner, backward=Tensor.backward, autocast=nullcontext)
        optimizer = optimiser([learner], train)
        first = number * self.federation.local_steps
        learner.train()
        order = mix(train.seed, self.owner)
        highest = train.lr or experiment.lr
        for step in range(first, first + self.federation.local_steps):
            for group in optimizer.param_groups:
                group["lr"] = rate = learning_rate(highest, train.warmup, step, self._steps)
            tau.advance(step / self._steps)
            with seeded(train.seed, self.owner, step):
                rows = batch_rows(len(experiment.pairs), self._batch_size, order, step)
                optimizer.zero_grad()
                batch = experiment.pairs.draw(rows, self._device)
                seen = play(batch)
            if train.clip:
                nn.utils.clip_grad_norm_(learner.parameters(), train.clip)
            optimizer.step()
        if not seen.loss.isfinite():
            raise NearfarError(
                f"The loss is {seen.loss.item()} in round {number}. Lower --lr or raise "
                "--temperature."
            )
        crowd = batch.strangers(QUERIES)
        stats = asdict(contrastive_stats(seen.query, seen.key, tau().item(), seen.ids, crowd))
        others = {name: loss.item() for name, loss in seen.others.items()}
        return {
            "loss": seen.loss.item(),
            "lr": rate,
            **others,
            "temperature": tau().item(),
            **stats,
        }

    def _weights(self) -> State:
        return {name: x.detach().cpu().clone() for name, x in self._learner.state_dict().items()}
