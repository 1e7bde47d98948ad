"""The loop, on Lightning Fabric; the only file that knows it."""

from __future__ import annotations

import inspect
import logging
import os
import time
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.io import TorchCheckpointIO
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from rich.console import Console
from torch.nn.parallel import DistributedDataParallel

from nearfar.anatomy import contrastive_stats
from nearfar.encoders import synchronised
from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train
from nearfar.loss import gather
from nearfar.pairs import LearningPairs, batch_rows, seeded
from nearfar.train._optimiser import learning_rate, optimiser
from nearfar.train._plan import Outcome, plan, precision
from nearfar.train._run import Run
from nearfar.train._step import Learner, Step
from nearfar.train._stop import StopSignal
from nearfar.train._together import SharedError, anywhere, finite, nobody_missing
from nearfar.train._watch import Watcher

LOOK_EVERY = 20
# It would announce every process.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def fit(experiment: Experiment, train: Train, run: Run, console: Console | None = None) -> Outcome:
    """Train an experiment in a run folder, or go on with it.

    The batch of a step, its random views and its dropout follow from (seed, step) alone, so a run
    that was killed at any moment ends, on the CPU, in the same weights bit for bit.

    On several devices each process holds a part of the batch, whose views and dropout follow from
    (seed, step, rank). The loss, its gradients and all batch norms are those of the whole batch.
    The first process starts the others, with its own command line, unless torchrun has done so;
    all of them call this function, and the first alone writes. They stay together afterwards, until
    `disband`.

    Args:
        experiment: What is learned. Its modules are trained in place.
        train: How.
        run: Where checkpoints and metrics go; a checkpoint that is there is resumed.
        console: Where the progress bar is drawn.

    Raises:
        NearfarError: The batch is larger than the data, the data are not those of the checkpoint,
            there are not as many devices, or a checkpoint could not be written (the last good one
            stays).
    """
    batch_size, steps = plan(experiment, train)
    checkpoints = _Checkpoints()
    fabric = _fabric(train, checkpoints)
    fabric.launch()
    leading, several = fabric.is_global_zero, fabric.world_size > 1
    learner = fabric.to_device(Learner(experiment))
    if several:
        synchronised(learner)
    optimizer = optimiser([learner], train)
    state: dict[str, Any] = {"learner": learner, "optimizer": optimizer, "step": 0, "data": ""}
    learner, optimizer = fabric.setup(learner, optimizer)
    state |= {"learner": learner, "optimizer": optimizer}
    play = Step(experiment, train, learner, backward=fabric.backward, autocast=fabric.autocast)
    pairs = experiment.pairs
    learning = pairs if isinstance(pairs, LearningPairs) else None
    if learning is not None:
        state["pairs"] = learning.state_dict()
    if play.memory is not None:
        state["memory"] = fabric.to_device(play.memory)
    if fabric.broadcast(run.checkpoint.is_file()):
        fabric.load(run.checkpoint, state)
        if learning is not None:
            learning.load_state_dict(state["pairs"])
    else:
        state["data"] = fabric.broadcast(pairs.fingerprint)
        if leading:
            experiment.model.save_weights(run.untrained)
    if anywhere(state["data"] != pairs.fingerprint, fabric.device):
        raise SharedError(
            "The data are not those that this run began with (some were added, removed or "
            "changed). Bring them back to go on, name another folder with --out, or start over "
            "with --fresh."
        )
    begin = step = int(state["step"])

    def checkpoint() -> None:
        state["step"] = step
        if learning is not None:
            state["pairs"] = learning.state_dict()
        fabric.save(run.checkpoint, state)
        problem = fabric.broadcast(checkpoints.problem)
        if problem:
            raise SharedError(problem)

    saved = time.perf_counter()
    learner.train()
    watcher = None
    if leading:
        watcher = Watcher(
            run,
            step=begin,
            steps=steps,
            batch_size=batch_size,
            console=console or Console(stderr=True),
        )
    with nobody_missing(), StopSignal() as stop, watcher or nullcontext():
        while step < steps and not anywhere(stop.asked, fabric.device):
            rate = learning_rate(train, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            experiment.temperature.advance(step / steps)
            with seeded(train.seed, step, *([fabric.global_rank] if several else [])):
                if learning is not None:
                    learning.revise(experiment.model.embed, step, steps)
                rows = batch_rows(len(pairs), batch_size, train.seed, step)
                own = rows.tensor_split(fabric.world_size)[fabric.global_rank]
                batch = pairs.draw(own, fabric.device)
                optimizer.zero_grad()
                with fabric.no_backward_sync(
                    learner, enabled=several and train.aggregator != "sum"
                ):
                    seen = play(batch)
            if train.clip:
                fabric.clip_gradients(learner, optimizer, max_norm=train.clip)
            optimizer.step()
            step += 1
            if watcher is not None:
                watcher.advance(step)
            if step % LOOK_EVERY == 0 or step in (1, steps):
                loss, tau = seen.loss.item(), experiment.temperature().item()
                query, key, ids = (gather(x) for x in (seen.query, seen.key, seen.ids))
                finite(loss, step)
                if watcher is not None:
                    stats = asdict(contrastive_stats(query, key, tau, ids))
                    others = {f"loss_{name}": x.item() for name, x in seen.others.items()}
                    values = {"loss": loss, **others, "temperature": tau, "lr": rate, **stats}
                    watcher.show(step, values)
            due = time.perf_counter() - saved > train.checkpoint_seconds
            if anywhere(due, fabric.device):
                checkpoint()
                saved = time.perf_counter()
        if step > begin:
            checkpoint()
    return Outcome(step=step, steps=steps, resumed=begin)


class _Checkpoints(TorchCheckpointIO):
    """Whole or absent. A failure is kept, not raised: the other processes wait to hear of it.

    Attributes:
        problem: Why the last one could not be written; empty where it was.
    """

    problem = ""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        draft = path.with_name(path.name + ".part")
        try:
            super().save_checkpoint(checkpoint, draft, storage_options)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            good = "The last good checkpoint stays" if path.is_file() else "There is none before it"
            self.problem = (
                f"The checkpoint of step {checkpoint['step']} could not be written to "
                f"{str(path)!r}: {error}. {good}. Free some space and give the same command again "
                "to go on."
            )


def device(train: Train) -> str:
    """The kind of device that a training runs on, "auto" resolved: cpu, cuda, mps."""
    kind: str = _fabric(train).device.type
    return kind


def leads(train: Train) -> bool:
    """Whether this is the first process of a training: the one that writes and speaks.

    Raises:
        NearfarError: There are not as many devices, or torchrun started another number of
            processes.
    """
    return bool(_fabric(train).is_global_zero)


def _fabric(train: Train, *plugins: Any) -> Fabric:
    nodes = 1
    if dist.is_available() and dist.is_torchelastic_launched():
        started, nodes = (int(os.environ[name]) for name in ("WORLD_SIZE", "GROUP_WORLD_SIZE"))
        if started != train.devices:
            raise NearfarError(
                f"devices={train.devices}, but torchrun started {started} processes. Wanted one "
                f"for each device: --devices {started}."
            )
    try:
        return Fabric(
            accelerator=train.accelerator,
            strategy=_strategy(train) if train.devices > 1 else "auto",
            devices=train.devices // nodes,
            num_nodes=nodes,
            precision=precision(train),  # type: ignore[arg-type]
            plugins=list(plugins),
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise NearfarError(
            f"accelerator={train.accelerator!r}, devices={train.devices}: {error} Wanted an "
            "accelerator that is here (auto finds one) and at most as many devices as it has."
        ) from error


def _strategy(train: Train) -> DDPStrategy:
    # Two forwards a step: the second must not write over buffers that the first still needs, and
    # all ranks have the same ones anyway. Newer torch has another name for the option.
    names = inspect.signature(DistributedDataParallel).parameters
    off = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    # The temperature is used outside the forward, and an encoder may have parameters that nothing
    # uses. GradCache, which sees to both itself, does without the static graph.
    options: dict[str, Any] = {off: False, "static_graph": train.cache_chunk is None}
    return DDPStrategy(**options)
