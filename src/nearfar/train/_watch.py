"""Watch a run: one progress bar, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

from nearfar.train._run import Run


class Watcher:
    """Shows a run while it trains and writes what it saw.

    Args:
        run: The run folder.
        step: First step of this session; what was written beyond it is rewound.
        steps: Steps in all.
        batch_size: Pairs a step.
        console: Where the bar is drawn.
    """

    def __init__(
        self, run: Run, *, step: int, steps: int, batch_size: int, console: Console
    ) -> None:
        run.rewind(step)
        self._batch_size = batch_size
        self._file = run.metrics.open("a")
        self._board = SummaryWriter(str(run.folder), purge_step=step + 1 if step else None)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("", total=steps, completed=step, now="")
        before = run.lines()
        self._seconds = before[-1]["seconds"] if before else 0.0
        self._began = time.perf_counter()
        self._last = (self._began, step)

    def __enter__(self) -> Watcher:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._file.close()
        self._board.close()

    def advance(self, step: int) -> None:
        """A step is done."""
        self._bar.update(self._task, completed=step)

    def show(self, step: int, values: dict[str, float]) -> None:
        """Write a line of metrics and put the loss against its chance level on the bar."""
        now = time.perf_counter()
        then, before = self._last
        self._last = (now, step)
        values = {
            "step": step,
            "seconds": round(self._seconds + now - self._began, 3),
            "pairs_per_s": round((step - before) * self._batch_size / max(now - then, 1e-9), 1),
            **values,
        }
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._bar.update(
            self._task,
            now=f"loss {values['info_nce']:.2f} (chance {values['chance']:.2f})  "
            f"top-1 {values['top1']:.0%}  τ {values['temperature']:.3g}  "
            f"{values['pairs_per_s']:.0f} pairs/s",
        )
