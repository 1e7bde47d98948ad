"""Watch whether several objectives pull the same way: harmony.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from torch import Tensor

from nearfar.anatomy import Harmony, harmony
from nearfar.experiment import Experiment
from nearfar.pairs import Batch
from nearfar.train._run import Run
from nearfar.train._step import CONTRASTIVE, Look, Step

# Steps between two looks at the noise, which plays the game once more.
FLOOR_EVERY = 100


class Accords:
    """Measures the harmony of the contrastive objective with each other one.

    Args:
        experiment: With at least one auxiliary objective.
        play: Takes the steps.
        run: Where ``harmony.jsonl`` is written; None in a process that is not the first.
    """

    def __init__(self, experiment: Experiment, play: Step, run: Run | None) -> None:
        self._names = list(experiment.auxiliaries)
        self._parameters = dict(experiment.model.named_parameters())
        self._play, self._run = play, run

    def at(self, step: int, again: Callable[[], Batch]) -> Look:
        """How to look at the losses of a step.

        Args:
            step: Its number, from 1.
            again: Draws another batch, for what noise alone shows: the cosine of an objective with
                itself on two batches.
        """

        def look(losses: Mapping[str, Tensor]) -> None:
            found = [self._harmony(losses, CONTRASTIVE, losses, name) for name in self._names]
            floors = {}
            if step % FLOOR_EVERY == 0 or step == 1:
                other = self._play.losses(again())
                for name in losses:
                    floors[name] = self._harmony(losses, name, other, name).cosine
            if self._run is not None:
                with self._run.harmony.open("a") as file:
                    for name, one in zip(self._names, found, strict=True):
                        file.write(json.dumps(_line(step, name, one, floors)) + "\n")

        return look

    def _harmony(
        self, losses: Mapping[str, Tensor], name: str, others: Mapping[str, Tensor], other: str
    ) -> Harmony:
        return harmony([losses[name], others[other]], self._parameters)


def _line(step: int, name: str, found: Harmony, floors: dict[str, float]) -> dict[str, object]:
    return {
        "step": step,
        "objective": name,
        "cosine": found.cosine,
        "ratio": found.ratio,
        "layers": {layer: accord.cosine for layer, accord in found.layers.items()},
        "layer_ratios": {layer: accord.ratio for layer, accord in found.layers.items()},
        "floors": {x: floors[x] for x in (CONTRASTIVE, name) if x in floors},
    }
