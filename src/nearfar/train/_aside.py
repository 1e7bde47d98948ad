"""A run that gives way to a new one is put aside until that has something to show."""

from __future__ import annotations

import shutil
from pathlib import Path


def put_aside(folder: Path) -> None:
    """Leave an empty folder in its place."""
    home = folder.resolve()
    home.rename(_aside(folder))
    home.mkdir()


def drop(folder: Path) -> None:
    """Delete what was put aside, if anything was."""
    # What cannot be deleted now must not end a training; it is tried again.
    shutil.rmtree(_aside(folder), ignore_errors=True)


def bring_back(folder: Path) -> None:
    """Put it back in place of what came after it, if anything was put aside."""
    home, aside = folder.resolve(), _aside(folder)
    if aside.is_dir():
        if home.is_dir():
            shutil.rmtree(home)
        aside.rename(home)


def _aside(folder: Path) -> Path:
    """Beside the folder, by a name that nobody gives to a folder of his own."""
    home = folder.resolve()
    return home.parent / f".{home.name}.put-aside"
