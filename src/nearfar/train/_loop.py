"""The loop, on Lightning Fabric."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import Console

from nearfar.anatomy import contrastive_stats
from nearfar.anatomy._stats import QUERIES
from nearfar.encoders import synchronised
from nearfar.experiment import Experiment, Train
from nearfar.loss import gather
from nearfar.loss._ranks import Ranks
from nearfar.pairs import Batch, LearningPairs, batch_rows, seeded
from nearfar.train._accords import Accords
from nearfar.train._fabric import Checkpoints, make_fabric
from nearfar.train._optimiser import learning_rate, optimiser
from nearfar.train._plan import Outcome, plan
from nearfar.train._run import Run
from nearfar.train._step import Learner, Step
from nearfar.train._stop import StopSignal
from nearfar.train._together import SharedError, anywhere, finite, length, nobody_missing
from nearfar.train._turn import Turn
from nearfar.train._watch import Watcher

LOOK_EVERY = 20


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
            there are not as many devices, the checkpoint is damaged, a loss or a weight is no
            number, or a checkpoint could not be written (the last good one stays).
    """
    planned = plan(experiment, train)
    batch_size, steps = planned.batch_size, planned.steps
    checkpoints = Checkpoints()
    fabric = make_fabric(train, checkpoints)
    fabric.launch()
    leading, several = fabric.is_global_zero, fabric.world_size > 1
    learner = fabric.to_device(Learner(experiment))
    if several:
        synchronised(learner)
    rival = experiment.rival
    optimizer = optimiser([learner], train, *([] if rival is None else [rival.betas]))
    state: dict[str, Any] = {"learner": learner, "optimizer": optimizer, "step": 0, "data": ""}
    learner, optimizer = fabric.setup(learner, optimizer)
    state |= {"learner": learner, "optimizer": optimizer}
    play = Step(experiment, train, learner, backward=fabric.backward, autocast=fabric.autocast)
    pairs, turn = experiment.pairs, None
    if rival is not None:
        turn = Turn(
            fabric.to_device(rival),  # type: ignore[arg-type]
            experiment.model,
            train,
            backward=fabric.backward,
            autocast=fabric.autocast,
        )
    learning = pairs if isinstance(pairs, LearningPairs) else None
    kept = {name: x for name, x in (("pairs", learning), ("turn", turn)) if x is not None}
    state |= {name: x.state_dict() for name, x in kept.items()}
    if play.memory is not None:
        state["memory"] = fabric.to_device(play.memory)
    if fabric.broadcast(run.checkpoint.is_file()):
        fabric.load(run.checkpoint, state)
        for name, x in kept.items():
            x.load_state_dict(state[name])
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
    accords = None
    if experiment.auxiliaries:
        accords = Accords(experiment, play, run if leading else None)

    def draw(number: int) -> Batch:
        rows = batch_rows(len(pairs), batch_size, train.seed, number)
        own = rows.tensor_split(fabric.world_size)[fabric.global_rank]
        return pairs.draw(own, fabric.device)

    def losses() -> dict[str, float]:
        others = {f"loss_{name}": ranks.mean(x).item() for name, x in seen.others.items()}
        return {"loss": seen.loss.item(), **others}

    def checkpoint() -> None:
        players = [learner] if rival is None else [learner, rival]
        finite({**losses(), "length of all weights": length(players)}, step)
        state["step"] = step
        state.update({name: x.state_dict() for name, x in kept.items()})
        fabric.save(run.checkpoint, state)
        problem = fabric.broadcast(checkpoints.problem)
        if problem:
            raise SharedError(problem)
        if leading:
            run.settle()

    saved, ranks = time.perf_counter(), Ranks()
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
            rate = learning_rate(planned.lr, train.warmup, step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            experiment.temperature.advance(step / steps)
            with seeded(train.seed, step, *([fabric.global_rank] if several else [])):
                if learning is not None:
                    learning.revise(experiment.model.embed, step, steps)
                batch, look = draw(step), None
                if accords is not None and ((step + 1) % LOOK_EVERY == 0 or step == 0):
                    look = accords.at(step + 1, partial(draw, step + steps))
                optimizer.zero_grad()
                seen = play(batch, look)
                if train.clip:
                    fabric.clip_gradients(learner, optimizer, max_norm=train.clip)
                optimizer.step()
                if turn is not None:
                    seen.others["rival"] = turn(batch, rate)
            step += 1
            if watcher is not None:
                watcher.advance(step)
            if step % LOOK_EVERY == 0 or step in (1, steps):
                found, tau = losses(), experiment.temperature().item()
                query, key, ids = (gather(x) for x in (seen.query, seen.key, seen.ids))
                finite(found, step)
                if watcher is not None:
                    crowd = batch.strangers(QUERIES)
                    stats = asdict(contrastive_stats(query, key, tau, ids, crowd))
                    values = {**found, "temperature": tau, "lr": rate, **stats}
                    watcher.show(step, values)
            due = time.perf_counter() - saved > train.checkpoint_seconds
            if anywhere(due, fabric.device):
                checkpoint()
                saved = time.perf_counter()
        if step > begin:
            checkpoint()
    return Outcome(step=step, steps=steps, resumed=begin)
