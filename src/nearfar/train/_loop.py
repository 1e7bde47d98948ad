"""The loop, on Lightning Fabric; the only file that knows it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import nn

from nearfar.anatomy import contrastive_stats
from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train
from nearfar.pairs import batch_rows, seeded
from nearfar.train._optimiser import learning_rate, optimiser
from nearfar.train._run import Run
from nearfar.train._step import Step
from nearfar.train._stop import StopSignal
from nearfar.train._watch import Watcher

LOOK_EVERY = 20


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


def fit(experiment: Experiment, train: Train, run: Run, console: Console | None = None) -> Outcome:
    """Train an experiment in a run folder, or go on with it.

    The batch of a step, its random views and its dropout follow from (seed, step) alone, so a run
    that was killed at any moment ends, on the CPU, in the same weights bit for bit.

    Args:
        experiment: What is learned. Its modules are trained in place.
        train: How.
        run: Where checkpoints and metrics go; a checkpoint that is there is resumed.
        console: Where the progress bar is drawn.

    Raises:
        NearfarError: The batch is larger than the data, the data are not those of the checkpoint,
            or a checkpoint could not be written (the last good one stays).
    """
    batch_size, steps = plan(experiment, train)
    fabric = Fabric(
        accelerator=train.accelerator,
        devices=1,
        precision=precision(train),  # type: ignore[arg-type]
    )
    learner = _Learner(experiment)
    optimizer = optimiser([learner], train)
    state: dict[str, Any] = {"learner": learner, "optimizer": optimizer, "step": 0, "data": ""}
    learner, optimizer = fabric.setup(learner, optimizer)
    state |= {"learner": learner, "optimizer": optimizer}
    play = Step(experiment, train, learner, backward=fabric.backward, autocast=fabric.autocast)
    if play.memory is not None:
        state["memory"] = fabric.to_device(play.memory)
    if run.checkpoint.is_file():
        fabric.load(run.checkpoint, state)
        _same_data(state["data"], experiment)
    else:
        experiment.model.save_weights(run.untrained)
    state["data"] = experiment.pairs.fingerprint
    begin = step = int(state["step"])

    def checkpoint() -> None:
        state["step"] = step
        _save(fabric, state, run.checkpoint, step)

    saved = time.perf_counter()
    learner.train()
    with (
        StopSignal() as stop,
        Watcher(
            run,
            step=begin,
            steps=steps,
            batch_size=batch_size,
            console=console or Console(stderr=True),
        ) as watcher,
    ):
        while step < steps and not stop.asked:
            rate = learning_rate(train, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            experiment.temperature.advance(step / steps)
            with seeded(train.seed, step):
                rows = batch_rows(len(experiment.pairs), batch_size, train.seed, step)
                batch = experiment.pairs.draw(rows, fabric.device)
                optimizer.zero_grad()
                seen = play(batch)
            if train.clip:
                fabric.clip_gradients(learner, optimizer, max_norm=train.clip)
            optimizer.step()
            step += 1
            watcher.advance(step)
            if step % LOOK_EVERY == 0 or step in (1, steps):
                tau = experiment.temperature().item()
                stats = contrastive_stats(seen.query, seen.key, tau)
                loss = seen.loss.item()
                _finite(loss, step)
                watcher.show(step, {"loss": loss, "temperature": tau, "lr": rate, **asdict(stats)})
            if time.perf_counter() - saved > train.checkpoint_seconds:
                checkpoint()
                saved = time.perf_counter()
        if step > begin:
            checkpoint()
    return Outcome(step=step, steps=steps, resumed=begin)


class _Learner(nn.Module):
    """All that has parameters, as the one module that Fabric wraps."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.model = experiment.model
        self.temperature = experiment.temperature

    def forward(self, x: Any) -> torch.Tensor:
        out: torch.Tensor = self.model(x)
        return out


def plan(experiment: Experiment, train: Train) -> tuple[int, int]:
    """The batch size and the number of steps, defaults filled in.

    Raises:
        NearfarError: The batch is larger than the data, or than the bank.
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
    if train.bank is not None and train.bank < batch_size:
        raise NearfarError(
            f"bank={train.bank} is smaller than a batch, which holds {batch_size} items. Wanted "
            "the keys of many batches, such as --bank 4096; leave it out to play in the batch."
        )
    return batch_size, train.steps or experiment.steps


def device(train: Train) -> str:
    """The kind of device that a training runs on, "auto" resolved: cpu, cuda, mps."""
    return Fabric(accelerator=train.accelerator, devices=1).device.type


def precision(train: Train) -> str:
    """bf16 where the device multiplies it fast, otherwise fp32."""
    if train.precision != "auto":
        return train.precision
    if torch.cuda.is_available() and train.accelerator in ("auto", "cuda", "gpu"):
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    fast = "avx512_bf16" in _cpu_flags() and train.accelerator in ("auto", "cpu")
    return "bf16-mixed" if fast else "32-true"


def _cpu_flags() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _same_data(then: str, experiment: Experiment) -> None:
    if then != experiment.pairs.fingerprint:
        raise NearfarError(
            "The data are not those that this run began with (some were added, removed or "
            "changed). Bring them back to go on, name another folder with --out, or start over "
            "with --fresh."
        )


def _finite(loss: float, step: int) -> None:
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise NearfarError(
            f"The loss is {loss} at step {step}. The last good checkpoint stays; lower --lr, set "
            "--clip 1, or raise --temperature, and start over with --fresh."
        )


def _save(fabric: Fabric, state: dict[str, Any], path: Path, step: int) -> None:
    draft = path.with_name(path.name + ".part")
    try:
        fabric.save(draft, state)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, RuntimeError) as error:
        draft.unlink(missing_ok=True)
        good = "The last good checkpoint stays" if path.is_file() else "There is none before it"
        raise NearfarError(
            f"The checkpoint of step {step} could not be written to {str(path)!r}: {error}. "
            f"{good}. Free some space and give the same command again to go on."
        ) from error
