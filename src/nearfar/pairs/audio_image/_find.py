"""What lies in the folders of recorders and cameras, and when each thing was recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs._walk import but, printable, walk
from nearfar.pairs.audio_image._clock import Seconds
from nearfar.pairs.audio_image._events import events
from nearfar.pairs.audio_image._sounds import Clip, facts
from nearfar.pairs.audio_image._stamps import exif_stamp, parse
from nearfar.pairs.audio_image._tables import Entry, Times

PICTURES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
LEVELS = ("label", "device", "site")


@dataclass(frozen=True)
class Things:
    """Clips or pictures, without any time.

    Attributes:
        names: What a person calls each.
        items: A `Clip`, a path or pixels, for each.
        files: The file of each.
        shift: Seconds from the file's stamp to the thing.
        entries: What the folders' names say of each.
        skipped: What cannot be read, each with the reason.
    """

    names: list[str] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    shift: list[float] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Moments:
    """Clips or pictures with their times.

    Attributes:
        names: What a person calls each.
        items: A `Clip` or a path, for each.
        stamps: (N,) seconds since 1970, each by its own device's clock.
        devices: Whose clock.
        sites: Where; empty where that is not known.
        labels: Each one's label, empty where it has none.
        skipped: What cannot be read or has no time, each with the reason.
    """

    names: list[str]
    items: list[Any]
    stamps: Seconds
    devices: list[str]
    sites: list[str]
    labels: list[str]
    skipped: dict[str, str]

    def only(self, rows: NDArray[np.int64]) -> Moments:
        """Some of them."""
        chosen = rows.tolist()
        parts = (self.names, self.items, self.devices, self.sites, self.labels)
        names, items, devices, sites, labels = ([part[row] for row in chosen] for part in parts)
        return Moments(names, items, self.stamps[chosen], devices, sites, labels, self.skipped)


def files_below(
    path: str | Path, endings: frozenset[str], argument: str, what: str
) -> tuple[list[Path], dict[str, str]]:
    """Every file with such an ending below a folder, sorted; a file stands for itself.

    Returns:
        The files, and the folders that cannot be entered, each with the reason.

    Raises:
        NearfarError: Nothing is there.
    """
    if not str(path):
        raise NearfarError(f"{argument}: not given; wanted a folder with {what}: --{argument} DIR.")
    root = Path(path)
    if root.is_file() and root.suffix.lower() in endings:
        return [root], {}
    skipped: dict[str, str] = {}
    found = walk(root, lambda name: Path(name).suffix.lower() in endings, skipped)
    if not found:
        why = f"no {what} there{but(skipped)}" if root.is_dir() else "there is no such folder"
        raise NearfarError(
            f"{argument}={str(path)!r}: {why}. Wanted a folder with {what}: "
            f"{', '.join(sorted(endings))}."
        )
    return found, skipped


def levels_of(folders: str) -> list[str]:
    """``device/label`` to the meaning of a file's folders, the innermost first.

    Raises:
        NearfarError: A level that is none, or twice.
    """
    levels = [level for level in folders.split("/") if level]
    if any(level not in LEVELS for level in levels) or len(set(levels)) < len(levels):
        raise NearfarError(
            f"folders={folders!r}: wanted what the folders around a file mean, outermost first, of "
            "label, device and site, each at most once: 'label', 'device', 'site/device/label'."
        )
    return levels[::-1]


def things(
    root: Path, files: list[Path], levels: list[str], read: Callable[[Path], list[Any]]
) -> Things:
    """All that some files hold; what cannot be read is skipped.

    Args:
        root: Names begin below it.
        files: Their paths.
        levels: See `levels_of`.
        read: A file to the things in it.
    """
    out = Things()
    with ThreadPoolExecutor(4) as workers:
        for file, found in zip(files, workers.map(_safely(read), files), strict=True):
            name = printable(file.relative_to(root) if file != root else file.name)
            if isinstance(found, str):
                out.skipped[name] = found
                continue
            said = dict(zip(levels, Path(name).parts[-2::-1], strict=False))
            for item in found:
                start = item.start if isinstance(item, Clip) else 0.0
                out.names.append(f"{name}@{start:.1f}" if start else name)
                out.items.append(item)
                out.files.append(file)
                out.shift.append(start)
                out.entries.append(Entry(np.nan, **said))
    return out


def clips_of(seconds: float) -> Callable[[Path], list[Any]]:
    """A sound file to its clips: the whole of a short one, the events of a long one."""

    def read(file: Path) -> list[Any]:
        if facts(file).seconds <= 2 * seconds:
            return [Clip(str(file))]
        found = events(file, seconds)
        if not found:
            raise NearfarError(f"{file}: nothing in it stands out from its noise.")
        return [Clip(str(file), start) for start, _ in found]

    return read


def timed(
    found: Things, times: Times, zone: tzinfo, pattern: str | None, *, exif: bool, fallback: str
) -> Moments:
    """Give each thing its time: from a table, else from EXIF, else from the file's name.

    Args:
        found: Clips or pictures.
        times: Tables.
        zone: Of stamps that name none.
        pattern: How a file's name writes the time.
        exif: Pictures have it.
        fallback: What the device is called where nothing names one.

    Raises:
        NearfarError: Nothing has a time.
    """
    kept, stamps, entries = [], [], []
    skipped = dict(found.skipped)
    cache: dict[Path, Entry | None] = {}
    for row, (file, said) in enumerate(zip(found.files, found.entries, strict=True)):
        if file not in cache:
            cache[file] = _stamped(file, times, zone, pattern, exif=exif)
        entry = cache[file]
        if entry is None:
            skipped[found.names[row]] = f"{found.names[row]}: no time in a table, its EXIF or name"
            continue
        kept.append(row)
        stamps.append(entry.stamp + found.shift[row])
        entries.append(
            Entry(
                0.0,
                entry.device or said.device or fallback,
                entry.site or said.site,
                entry.label or said.label,
            )
        )
    if not kept:
        first = found.names[0] if found.names else next(iter(skipped.values()), "nothing")
        raise NearfarError(
            f"No file of the {fallback} has a time; the first is {first!r}. Wanted one in the "
            "names (20240630_053000.wav), in EXIF, or in a CSV: --times CSV with the columns file "
            "and time; or say how names write it: --pattern %d%m%y-%H%M%S."
        )
    return Moments(
        [found.names[row] for row in kept],
        [found.items[row] for row in kept],
        np.array(stamps),
        [entry.device for entry in entries],
        [entry.site for entry in entries],
        [entry.label for entry in entries],
        skipped,
    )


def common_labels(*sides: Moments) -> Iterator[str]:
    """Labels that every side has at least two of."""
    counts = [Counter(side.labels) for side in sides]
    for label in sorted(counts[0]):
        if label and all(count[label] >= 2 for count in counts):
            yield label


def _stamped(
    file: Path, times: Times, zone: tzinfo, pattern: str | None, *, exif: bool
) -> Entry | None:
    entry = times.of(file)
    if entry is not None:
        return entry
    stamp = exif_stamp(file, zone) if exif and pattern is None else None
    if stamp is None:
        stamp = parse(file.stem, zone, pattern)
    return None if stamp is None else Entry(stamp)


def _safely(read: Callable[[Path], list[Any]]) -> Callable[[Path], list[Any] | str]:
    def safe(file: Path) -> list[Any] | str:
        try:
            return read(file)
        except NearfarError as error:
            return printable(str(error))

    return safe
