"""The run folder: settings, checkpoints, metrics. The same folder again resumes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import yaml

from nearfar.errors import NearfarError
from nearfar.files import reading, replace_text
from nearfar.train._aside import bring_back, drop, put_aside

# What may differ when a run goes on: where and how often it writes, not what it learns.
_FREE = frozenset({"out", "fresh", "checkpoint_seconds"})
# What to do where a file is damaged.
START_OVER = "Bring back a whole copy of it, or start over with --fresh."


class Run:
    """A folder that holds one run.

    Args:
        folder: Where it lies, or will.

    Attributes:
        config: ``config.yaml``: the recipe and every setting.
        metrics: ``metrics.jsonl``: one line per look at the training.
        harmony: ``harmony.jsonl``: likewise, how well several objectives agree.
        checkpoint: ``checkpoints/last.ckpt``: what a resume needs.
        untrained: ``checkpoints/untrained.safetensors``: the encoder before its first step.
        model: ``model/``: the finished model.
        report: ``report.html``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.config = self.folder / "config.yaml"
        self.metrics = self.folder / "metrics.jsonl"
        self.harmony = self.folder / "harmony.jsonl"
        self.scores = self.folder / "scores.json"
        self.checkpoint = self.folder / "checkpoints" / "last.ckpt"
        self.untrained = self.folder / "checkpoints" / "untrained.safetensors"
        self.model = self.folder / "model"
        self.report = self.folder / "report.html"

    def begin(self, settings: dict[str, Any], *, fresh: bool) -> ExitStack:
        """Open the folder for these settings: a new run, or the same one again.

        Args:
            settings: Plain values; ``recipe`` names the recipe.
            fresh: Start over where a run is there.

        Returns:
            A block to train in. Where it ends before the new run has anything to show, the run that
            ``fresh`` has put aside is back; otherwise that is deleted.

        Raises:
            NearfarError: The folder holds another recipe's run, other settings, or no run at all
                but other files; or it is a file, or cannot be written to.
        """
        self.settle()
        known = self._is_run()
        if not (fresh and known):
            self._check(settings, known)
        with ExitStack() as block:
            block.callback(self.settle)
            if fresh and known:
                put_aside(self.folder)
            replace_text(self.config, yaml.safe_dump(settings, sort_keys=False))
            return block.pop_all()

    def _check(self, settings: dict[str, Any], known: bool) -> None:
        """Refuse a folder in which a run of these settings can neither begin nor go on."""
        out = f"out={str(self.folder)!r}"
        if self.config.is_file() and known:
            # A start that failed before its first checkpoint binds nobody to its settings.
            if self.checkpoint.is_file() or self.model.is_dir():
                self._compare(self.settings(), settings)
        elif self.folder.exists() and not self.folder.is_dir():
            raise NearfarError(f"{out} is a file. Wanted a folder; name another with --out.")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise NearfarError(
                f"{out} holds files but no run of nearfar's (no config.yaml of one). Wanted a new "
                "or empty folder, or the folder of the run to go on with"
                + ("; --fresh starts over in this one." if known else ".")
            )

    def _is_run(self) -> bool:
        """Whether nearfar wrote the folder, whatever has happened to its files since."""
        if self.untrained.is_file() or self.checkpoint.is_file():
            return True
        try:
            return bool(self.settings())
        except NearfarError:
            return False

    def settle(self) -> None:
        """Of a new run and the one put aside keep one: the new one, if it can be gone on with."""
        if self.checkpoint.is_file() and self.lines():
            drop(self.folder)
        else:
            bring_back(self.folder)

    def settings(self) -> dict[str, Any]:
        """The settings that the run began with.

        Raises:
            NearfarError: The folder holds no run, or one whose ``config.yaml`` is damaged.
        """
        if not self.config.is_file():
            raise NearfarError(
                f"run={str(self.folder)!r} is not a run folder (no config.yaml). Wanted a folder "
                "that `nearfar train` wrote."
            )
        with reading(self.config, START_OVER):
            loaded = yaml.safe_load(self.config.read_text())
            if not isinstance(loaded, dict) or "recipe" not in loaded:
                raise ValueError("it names no recipe")
        return loaded

    def state(self) -> dict[str, Any]:
        """What the last checkpoint holds, on the CPU; nothing is unpickled.

        Raises:
            NearfarError: It is damaged.
        """
        with reading(self.checkpoint, START_OVER):
            state: dict[str, Any] = torch.load(
                self.checkpoint, map_location="cpu", weights_only=True
            )
        return state

    def _compare(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        where = f"The run in {str(self.folder)!r}"
        if old.get("recipe") != new["recipe"]:
            raise NearfarError(
                f"{where} is of the recipe {old.get('recipe')!r}, not {new['recipe']!r}. "
                "Name another folder with --out, or start over in this one with --fresh."
            )
        changed = [
            f"{name}: {_said(old.get(name))} then, {_said(new.get(name))} now"
            for name in sorted(old.keys() | new.keys())
            if name not in _FREE and old.get(name) != new.get(name)
        ]
        if changed:
            raise NearfarError(
                f"{where} began with other settings ({'; '.join(changed)}). Go on with the old "
                "ones, name another folder with --out, or start over with --fresh."
            )

    def lines(self) -> list[dict[str, float]]:
        """All metrics; a line that a crash cut off is left out."""
        return _lines(self.metrics)

    def accords(self) -> list[dict[str, Any]]:
        """All that was seen of the objectives' harmony; nothing where there is one objective."""
        return _lines(self.harmony)

    def rewind(self, step: int) -> None:
        """Drop what a resume from ``step`` will write again."""
        for path in (self.metrics, self.harmony):
            kept = [line for line in _lines(path) if line["step"] <= step]
            if kept or path.is_file():
                replace_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def _said(value: Any) -> str:
    return "the default" if value is None else repr(value)
