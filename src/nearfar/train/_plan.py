"""What a training will do, defaults filled in, and how far it came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train


@dataclass(frozen=True)
class Plan:
    """What the user named, and where he did not, what suits the recipe.

    Attributes:
        batch_size: Of all devices together.
        steps: Of the whole training.
        lr: Highest learning rate.
    """

    batch_size: int
    steps: int
    lr: float


@dataclass(frozen=True)
class Outcome:
    """How a session of training ended.

    Attributes:
        step: Steps done in all.
        steps: Steps wanted.
        resumed: The step that this session began from.
    """

    step: int
    steps: int
    resumed: int

    @property
    def finished(self) -> bool:
        """All steps are done."""
        return self.step == self.steps


def plan(experiment: Experiment, train: Train) -> Plan:
    """Fill in what the user left out.

    Raises:
        NearfarError: The batch is larger than the data or than the bank, or does not fit the
            number of devices; settings that several objectives or two
            players do not allow.
    """
    items = len(experiment.pairs)
    if train.batch_size is not None and train.batch_size > items:
        raise NearfarError(
            f"batch_size={train.batch_size} is larger than the data, which hold {items} items. "
            f"Wanted at most {items}; leave it out for a number that fits."
        )
    if train.batch_size == 1:
        raise NearfarError("batch_size=1 leaves no negatives; wanted 2 or more.")
    batch_size = train.batch_size or min(experiment.batch_size or 128, items)
    if train.cache_chunk is not None and experiment.auxiliaries:
        raise NearfarError(
            f"cache_chunk={train.cache_chunk} and a second objective "
            f"({', '.join(experiment.auxiliaries)}) do not go together: it needs the whole batch's "
            "graph. Wanted one of the two."
        )
    if experiment.rival is not None and train.devices > 1:
        raise NearfarError(
            f"devices={train.devices}: a game of two players needs one process that sees all "
            "fakes. Wanted --devices 1."
        )
    if train.aggregator != "sum" and not experiment.auxiliaries:
        raise NearfarError(
            f"aggregator={train.aggregator!r} combines several objectives, and there is one. "
            "Leave it out, or give the recipe a second objective."
        )
    if train.bank is not None and train.bank < batch_size:
        raise NearfarError(
            f"bank={train.bank} is smaller than a batch, which holds {batch_size} items. Wanted "
            "the keys of many batches, such as --bank 4096; leave it out to play in the batch."
        )
    if train.devices > batch_size:
        raise NearfarError(
            f"devices={train.devices} share a batch of {batch_size} items; wanted an item or more "
            "for each."
        )
    if train.cache_chunk is not None and batch_size % train.devices:
        even = batch_size // train.devices * train.devices
        raise NearfarError(
            f"cache_chunk={train.cache_chunk}: {train.devices} devices go through a batch of "
            f"{batch_size} items chunk by chunk, side by side, and need equally many. Wanted a "
            f"multiple of {train.devices}, such as --batch-size {even}."
        )
    return Plan(batch_size, train.steps or experiment.steps, train.lr or experiment.lr)


def precision(train: Train) -> str:
    """What was asked for, as far as the device has it; auto is bf16 where that is fast."""
    if train.precision == "16-mixed" and _on_cpu(train):
        return "bf16-mixed"
    if train.precision != "auto":
        return train.precision
    if torch.cuda.is_available() and train.accelerator in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    fast = "avx512_bf16" in _cpu_flags() and train.accelerator in ("auto", "cpu")
    return "bf16-mixed" if fast else "32-true"


def _on_cpu(train: Train) -> bool:
    anything = train.accelerator == "auto"
    return train.accelerator == "cpu" or (anything and not torch.accelerator.is_available())


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
