"""What is learned (`Experiment`) and how (`Train`): frozen, typed, the same for every recipe."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nearfar.errors import NearfarError, check_range
from nearfar.loss import Temperature
from nearfar.model import Model
from nearfar.pairs import Batch, Pairs
from nearfar.probes import Probe

Objective = Callable[..., Tensor]
Aggregator = Literal["sum", "upgrad", "pcgrad", "mgda", "cagrad", "alignedmtl"]


class Auxiliary(nn.Module, ABC):
    """One more objective, asked of the same model on the same batch.

    Its own parameters (a classifier, an output layer) train with the model and lie in the
    checkpoint, not in the saved model.

    Attributes:
        weight: Its loss is multiplied by this.
    """

    weight: float = 1.0

    @abstractmethod
    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        """The loss, a scalar with a graph to the model.

        Args:
            model: What is trained; for another pass through its encoder, where one is needed.
            batch: As the pairs drew it.
            vectors: (N, D) the encoder's, of the batch's queries, before the head: the very ones
                of the contrastive game, with their views and their dropout.
        """


class Rival(nn.Module, ABC):
    """The other player of a two-player game: a generator, against the model.

    It has an optimiser of its own and moves after the model in every step. What the model makes of
    its fakes is one of the experiment's objectives.

    Attributes:
        pace: Its learning rate, relative to the model's.
        betas: Adam's, of both players; momentum makes two players circle each other.
    """

    pace: float = 1.0
    betas: tuple[float, float] = (0.0, 0.99)

    @abstractmethod
    def forward(self, model: Model, batch: Batch) -> Tensor:
        """Its loss against the model as it is now, a scalar with a graph to its own parameters."""

    def moved(self) -> None:
        """Called after each of its moves: for a running average of its weights."""

    def save(self, folder: Path) -> None:
        """Write what is worth having beside the finished model; nothing by default."""

    def load(self, folder: Path) -> None:
        """Take what `save` wrote, for `nearfar evaluate`; nothing by default."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """One more section of the report, in plain values.

    Attributes:
        title: Its heading.
        text: A sentence or two: how to read it.
        curves: Name to (x, y), drawn in one figure.
        x: What the x axis shows.
        y: What the y axis shows.
        pictures: (H, W, 3) uint8, one picture; several are laid side by side in it.
        sounds: WAV files to play, each with a picture beside it.
    """

    title: str
    text: str
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]] = field(default_factory=dict)
    x: str = ""
    y: str = ""
    pictures: NDArray[np.uint8] | None = None
    sounds: Sequence[tuple[bytes, NDArray[np.uint8]]] = ()


def _no_exhibits(model: Model) -> list[Exhibit]:
    return []


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One application: what a pair is, who looks at it, and what is asked of them.

    Attributes:
        model: Reader, encoder and head; the key's encoder is the query's.
        pairs: The data, and how two views are drawn from an item.
        objective: ``objective(query, key, ids=ids)``, the loss of a batch of projections; with
            ``weight=`` or ``mask=`` too where the pairs give them.
        auxiliaries: Further objectives, by name.
        rival: The other player, if there are two.
        contrastive_weight: Where there are auxiliaries, the contrastive loss is multiplied by this;
            0 only watches it.
        temperature: The objective's temperature; the loop advances its schedule and shows it.
        inputs: What `Model.embed` takes, one per item: for maps, neighbours and searches.
        labels: Label of each item, for evaluation and pictures only.
        probe: What the embedding is judged by, if there is anything.
        skipped: Inputs that could not be read, each with the reason.
        remarks: What a person should know about the data, said at the start and in the report.
        exhibits: Further sections of the report, made from the trained model.
        steps: Steps that suit this recipe when the user names none.
        batch_size: Items a step that suit it; None for 128, or all where there are fewer.
        lr: Highest learning rate that suits it.

    Raises:
        NearfarError: A weight of the only objective.
    """

    model: Model
    pairs: Pairs
    objective: Objective
    temperature: Temperature
    inputs: Sequence[Any]
    auxiliaries: Mapping[str, Auxiliary] = field(default_factory=dict)
    rival: Rival | None = None
    contrastive_weight: float = 1.0
    labels: Sequence[str] | None = None
    probe: Probe | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    exhibits: Callable[[Model], list[Exhibit]] = _no_exhibits
    steps: int = 3000
    batch_size: int | None = None
    lr: float = 1.5e-3

    def __post_init__(self) -> None:
        if self.contrastive_weight != 1 and not self.auxiliaries:
            raise NearfarError(
                f"contrastive_weight={self.contrastive_weight} weighs one of several objectives, "
                "and there is one. Leave it out, or give the recipe an auxiliary objective."
            )


@dataclass(frozen=True, kw_only=True)
class Train:
    """How to train; the same for every recipe.

    Args:
        out: The run's folder; the same folder again resumes.
        steps: Optimiser steps; the recipe knows a good number.
        batch_size: Items a step; the recipe knows a good number.
        devices: Processes that share a batch, each on a device of its own (on the CPU, a part of
            its cores); batch norms see all of the batch.
        lr: Highest learning rate; the recipe knows a good one.
        weight_decay: On weight matrices only, not on biases and norms.
        optimizer: adamw, sgd (momentum 0.9) or lars (for batches of thousands).
        warmup: Share of the steps in which the rate rises; then it falls as a cosine.
        clip: Largest norm of the gradient; 0 for no limit.
        bank: Negatives come from a queue of this many earlier keys too, as in MoCo; a slow copy of
            the encoder makes the keys, and the loss is InfoNCE with the recipe's temperature.
        momentum: Share of its weights that the slow copy keeps at a step; 0.999 with a bank.
        cache_chunk: Encode this many items at a time, for a batch that does not fit the memory; a
            step takes about a third longer, and batch norms see one chunk at a time.
        aggregator: How the gradients of several objectives become one: their sum, or a TorchJD
            aggregator that lets no objective's step hurt another.
        precision: What the encoder computes in; auto is bf16 where the device is fast at it, and
            on a CPU, which has no fp16, 16-mixed is bf16-mixed.
        accelerator: cpu, cuda, mps or auto.
        seed: All randomness follows from it.
        checkpoint_seconds: Time between two checkpoints.
        fresh: Start over even if the folder holds a run; once the new one can be gone on with, the
            old one is deleted.
    """

    out: str | None = None
    steps: int | None = None
    batch_size: int | None = None
    devices: int = 1
    lr: float | None = None
    weight_decay: float = 1e-4
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    warmup: float = 0.1
    clip: float = 0.0
    bank: int | None = None
    momentum: float | None = None
    cache_chunk: int | None = None
    aggregator: Aggregator = "sum"
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    accelerator: str = "auto"
    seed: int = 0
    checkpoint_seconds: float = 30.0
    fresh: bool = False

    def __post_init__(self) -> None:
        check_range(1, steps=self.steps, batch_size=self.batch_size)
        check_range(1, devices=self.devices, bank=self.bank)
        check_range(0, weight_decay=self.weight_decay, clip=self.clip)
        check_range(0, checkpoint_seconds=self.checkpoint_seconds)
        check_range(0, 1, "[)", warmup=self.warmup)
        check_range(0, math.inf, "(]", lr=self.lr)
        if self.cache_chunk is not None and self.cache_chunk < 4:
            raise NearfarError(
                f"cache_chunk={self.cache_chunk}: wanted 4 or more, so that batch norms have rows "
                "to compare; 64 is a good beginning."
            )
        if self.aggregator != "sum" and self.precision == "16-mixed":
            raise NearfarError(
                f"aggregator={self.aggregator!r} weighs the objectives' true gradients, and "
                "precision='16-mixed' scales them. Wanted --precision bf16-mixed or 32-true."
            )
        if self.momentum is not None and self.bank is None:
            raise NearfarError(
                f"momentum={self.momentum} says how slowly the encoder of a bank's keys follows, "
                "and there is no bank. Add --bank 65536, or leave --momentum out."
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise NearfarError(
                f"momentum={self.momentum}: wanted the share of its weights that the encoder of "
                "keys keeps at a step, 0 <= momentum < 1; 0.999 is MoCo's."
            )
