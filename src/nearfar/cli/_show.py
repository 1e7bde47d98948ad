"""What a person sees in the terminal; figures also as JSON."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nearfar.anatomy import health
from nearfar.experiment import Experiment
from nearfar.pairs import printable
from nearfar.probes import Scores
from nearfar.report import Trial
from nearfar.train import Outcome, Plan, Run


def out(as_json: bool = False) -> Console:
    """Where words go: standard error when standard output is for a machine.

    They stand there as they are: a path may hold what elsewhere is markup, such as ``[v]``.
    """
    return Console(stderr=as_json, highlight=False, soft_wrap=True, markup=False, emoji=False)


def say(console: Console, what: str, text: str, style: str = "bold") -> None:
    """One line: what it is about, then the rest."""
    console.print(Text.assemble((f"{what:<11}", style), text))


def show_start(
    console: Console,
    experiment: Experiment,
    planned: Plan,
    device: str,
    precision: str,
    kept: Path,
    bank: int | None = None,
) -> None:
    """Before training: what was found (what was skipped is kept in a file), and the game."""
    batch = planned.batch_size
    crowd = f"up to {2 * batch - 2:,}" if bank is None else f"up to {bank + batch - 1:,}"
    parameters = sum(p.numel() for p in experiment.model.parameters())
    say(
        console,
        "data",
        f"{len(experiment.pairs):,} items"
        + (
            f", {len(set(experiment.labels))} labels"
            + ("" if experiment.auxiliaries else " (for evaluation only)")
            if experiment.labels
            else ""
        ),
    )
    show_skipped(console, experiment.skipped, kept)
    for line in experiment.remarks:
        say(console, "note", line)
    say(console, "encoder", f"{parameters:,} parameters on {device}, {precision}")
    if experiment.auxiliaries:
        say(console, "beside", ", ".join(experiment.auxiliaries))
    say(
        console,
        "game",
        f"{planned.steps:,} steps of {batch:,} pairs, {crowd} negatives a query; in the batch, "
        f"one way, {batch - 1:,}: chance level log {batch} = {math.log(batch):.2f}",
    )


def show_skipped(console: Console, skipped: dict[str, str], kept: Path | None = None) -> None:
    """Name what could not be read; the first few of it where a file holds the rest."""
    if skipped:
        say(console, "skipped", f"{len(skipped)}:", "yellow")
        for reason in list(skipped.values())[: None if kept is None else 5]:
            say(console, "", reason)
        if kept is not None and len(skipped) > 5:
            say(console, "", f"... and {len(skipped) - 5} more: {kept}")


def show_health(console: Console, vectors: NDArray[np.float32]) -> None:
    """Whether the embedding is alive."""
    found = health(torch.from_numpy(vectors))
    say(
        console,
        "space",
        f"{found.effective_rank:.0f} of {found.dimensions} directions in use, "
        f"uniformity {found.uniformity:.2f}",
    )
    for line in found.warnings:
        say(console, "warning", line, "yellow")


def show_scores(console: Console, scores: Scores) -> None:
    """The table: learned beside untrained beside what needs no training."""
    table = Table(title=scores.title, caption=scores.note)
    table.add_column("features")
    for heading in scores.measures.values():
        table.add_column(heading, justify="right")
    for name, row in scores.rows.items():
        table.add_row(name, *(f"{row[key]:.3f}" if key in row else "" for key in scores.measures))
    console.print(table)


def show_sweep(console: Console, trials: list[Trial]) -> None:
    """One line a training."""
    table = Table(title="temperatures")
    table.add_column("run")
    judged = list(dict.fromkeys(measure for one in trials for measure in one.scores))
    for column in (*judged, "alignment", "uniformity", "tolerance", "push of the hardest 1 %"):
        table.add_column(column, justify="right")
    for one in trials:
        scores = [
            f"{one.scores[measure]:.3f}" if measure in one.scores else "" for measure in judged
        ]
        alike = "" if one.tolerance is None else f"{one.tolerance:.3f}"
        space = [f"{one.alignment:.3f}", f"{one.uniformity:.2f}", alike, f"{one.hardest_1:.0%}"]
        table.add_row(one.name, *scores, *space)
    console.print(table)


def show_end(console: Console, run: Run, outcome: Outcome, next_commands: list[str]) -> None:
    """Where things lie and what to type next."""
    if not outcome.finished:
        console.print(
            f"Stopped and saved after step {outcome.step:,} of {outcome.steps:,}. "
            "The same command goes on from there."
        )
    say(console, "model", str(run.model))
    if run.report.is_file():
        say(console, "report", str(run.report))
    show_next(console, next_commands)


def show_next(console: Console, commands: list[str]) -> None:
    """What to type next."""
    console.print("next", style="bold")
    for line in commands:
        console.print(f"  {line}")


def next_steps(run: Run, experiment: Experiment, path: str | None) -> list[str]:
    """Commands that make sense after a training."""
    folder, data = (shlex.quote(printable(one or "PATH")) for one in (run.folder, path))
    vectors = shlex.quote(str(Path(run.folder) / "vectors.parquet"))
    commands = [
        f"nearfar embed {folder} {data} --out {vectors}",
        f"nearfar search {folder} {experiment.model.reader.example} --gallery {data}",
    ]
    # By what the recipe kept for it, if the data held anything to judge by.
    return [*commands, f"nearfar evaluate {folder}"] if experiment.probe else commands


def print_json(values: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(values, indent=2))
