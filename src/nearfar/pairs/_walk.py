"""Every file below a folder, links followed; what cannot be entered or read is named."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator
from pathlib import Path


def walk(root: Path, wanted: Callable[[str], object], skipped: dict[str, str]) -> list[Path]:
    """The files below a folder, sorted.

    Args:
        root: A folder.
        wanted: Whether a file is, by its name.
        skipped: See `folders`.
    """
    found = (file for _, files in folders(root, skipped) for file in files)
    return sorted(file for file in found if wanted(file.name))


def folders(
    root: Path, skipped: dict[str, str], leave: Collection[str] = ()
) -> Iterator[tuple[Path, list[Path]]]:
    """A folder and each below it, with its files.

    Each folder is entered once, by its own name before a link's: a link that leads back ends
    there, and what is found without links keeps its name beside them.

    Args:
        root: A folder.
        skipped: Gets the reason for each folder that cannot be entered and each link to nowhere.
        leave: Folders of these names, in small letters, are passed over.
    """
    entered: set[Path] = set()
    waiting = [root]

    def cannot(path: Path, error: OSError) -> None:
        name = printable(path.relative_to(root))
        skipped[name] = f"{printable(path)} cannot be read: {error.strerror}"

    def closed(error: OSError) -> None:
        cannot(Path(error.filename), error)

    while waiting:
        for folder, below, names in os.walk(waiting.pop(0), onerror=closed):
            here, real = Path(folder), Path(folder).resolve()
            if real in entered:
                below.clear()
                continue
            entered.add(real)
            below[:] = sorted(name for name in below if name.lower() not in leave)
            waiting += [here / name for name in below if (here / name).is_symlink()]
            files = []
            for file in (here / name for name in sorted(names)):
                try:
                    kind = file.stat().st_mode
                except OSError as error:
                    cannot(file, error)
                    continue
                if stat.S_ISREG(kind):
                    files.append(file)
            yield here, files


def but(skipped: dict[str, str]) -> str:
    """What an error says of files that were skipped: how many and why the first; or nothing."""
    if not skipped:
        return ""
    return f" ({len(skipped)} skipped, the first: {next(iter(skipped.values()))})"


def printable(path: str | Path) -> str:
    """A path that can be printed, written and hashed, whatever bytes it is made of.

    Example:
        >>> printable(os.fsdecode(b"caf\\xe9.jpg"))
        'caf\\\\xe9.jpg'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")
