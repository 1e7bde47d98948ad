"""One training from the first word to the last: build, fit, save, judge, report."""

from __future__ import annotations

import json
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from nearfar.cli import _show as show
from nearfar.cli._judge import judge
from nearfar.experiment import Experiment, Train
from nearfar.files import replace_text
from nearfar.model import load
from nearfar.probes import Scores
from nearfar.recipes import Recipe, build
from nearfar.report import Snapshot, keep_exhibits, take_snapshot, write_report
from nearfar.train import Run, SharedError, device, disband, fit, leads, plan, precision


@dataclass(frozen=True)
class Session:
    """A recipe, its settings and how to train it.

    Attributes:
        recipe: Which application.
        settings: Arguments of its function.
        train: The same for every recipe.
        as_json: Print the figures for a machine; words go to standard error.
    """

    recipe: Recipe
    settings: dict[str, Any]
    train: Train
    as_json: bool = False

    def run(self) -> int:
        """Train, or go on; then save the model, judge it and write the report.

        On several devices this runs in each of their processes, and the first one alone begins the
        run, speaks and does what comes after the training.
        """
        leading = leads(self.train)
        console = show.out(self.as_json)
        run = Run(self.train.out or f"runs/{self.recipe.name}")
        every = {"recipe": self.recipe.reference, **self.settings, **asdict(self.train)}
        with nullcontext() if leading else redirect_stdout(StringIO()):
            experiment = build(self.recipe, self.settings, self.train.seed)
        planned = plan(experiment, self.train)
        if not leading:
            return self._help(experiment, run)
        kept = run.folder / "skipped.txt"
        with run.begin(every, fresh=self.train.fresh):
            show.show_start(
                console,
                experiment,
                planned,
                self._where(),
                precision(self.train),
                kept,
                self.train.bank,
            )
            if experiment.skipped:
                reasons = "".join(f"{reason}\n" for reason in experiment.skipped.values())
                replace_text(kept, reasons)
            outcome = fit(experiment, self.train, run, console)
        disband()
        if not outcome.step:
            # Stopped before it began: there is nothing to save.
            raise KeyboardInterrupt
        experiment.model.cpu().eval()
        experiment.model.save(run.model, recipe=self.recipe.reference, settings=self.settings)
        if experiment.rival is not None:
            experiment.rival.save(run.model)
        scores = self._judge(experiment, run) if outcome.finished else None
        steps_next = show.next_steps(run, experiment, self.settings.get("path"))
        take_snapshot(experiment, run, self.train, steps_next)
        keep_exhibits(experiment, run)
        write_report(run)
        show.show_health(console, Snapshot.load(run).vectors)
        if scores:
            show.show_scores(console, scores)
        show.show_end(console, run, outcome, steps_next)
        if self.as_json:
            show.print_json(
                {
                    "run": str(run.folder),
                    "finished": outcome.finished,
                    "metrics": next(reversed(run.lines()), None),
                    "scores": scores.as_json() if scores else None,
                }
            )
        return 0 if outcome.finished else 130

    def _help(self, experiment: Experiment, run: Run) -> int:
        """Share the batch in a process that is not the first; how it ended, the first one says.

        The launcher takes any other status than 0 for a crash, and kills the first process.
        """
        with suppress(SharedError):
            fit(experiment, self.train, run)
        # Left to the interpreter's end, gloo's threads can crash it.
        disband()
        return 0

    def _where(self) -> str:
        kind = device(self.train)
        return kind if self.train.devices == 1 else f"{self.train.devices} x {kind}"

    def _judge(self, experiment: Experiment, run: Run) -> Scores | None:
        if experiment.probe is None:
            return None
        untrained = load(run.model, weights=run.untrained)
        scores = judge(experiment.model, untrained, experiment.probe)
        replace_text(run.scores, json.dumps(scores.as_json(), indent=2) + "\n")
        return scores
