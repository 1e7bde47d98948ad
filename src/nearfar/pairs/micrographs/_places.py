"""Everything at a path that can be looked at: files, their maps, the windows in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean
from nearfar.pairs._reader import Inputs
from nearfar.pairs._walk import printable
from nearfar.pairs.micrographs._files import find_files, read_file
from nearfar.pairs.micrographs._labels import grains_of
from nearfar.pairs.micrographs._map import Map, with_channels
from nearfar.pairs.micrographs._windows import Window, windows_of


class Looks(Protocol):
    """What decides where to look: the settings of a `MicrographReader`."""

    channel: str | None
    channels: int
    window: float | None
    smallest: int


@dataclass(frozen=True)
class Places:
    """All windows at a path.

    Attributes:
        inputs: Their names, the windows, their labels, and the files that were skipped.
        maps: The maps they lie in.
        number: (N,) each window's map.
    """

    inputs: Inputs
    maps: list[Map]
    number: Tensor


def places(looks: Looks, path: str, *, inside: bool) -> Places:
    """Find the windows at a path.

    Labels are the grains' kinds (phases), or for plain micrographs the first-level sub-folders.

    Args:
        looks: How to look.
        path: A file, or a folder of them.
        inside: See `windows_of`.

    Raises:
        NearfarError: Nothing that can be read, or no grain that is large enough.
    """
    files, skipped = find_files(path)
    root = Path(path)
    maps: list[Map] = []
    names: list[str] = []
    windows: list[Window] = []
    number: list[int] = []
    kinds: list[str | None] = []
    for file in files:
        short = printable(file.relative_to(root) if file != root else file.name)
        try:
            pages = open_maps(str(file), looks.channel, looks.channels)
        except NearfarError as error:
            skipped[short] = printable(str(error))
            continue
        for page, one in enumerate(pages):
            own = windows_of(
                one, str(file), page, window=looks.window, smallest=looks.smallest, inside=inside
            )
            windows += own
            number += [len(maps)] * len(own)
            names += [_name(short + one.name.removeprefix(file.name), place) for place in own]
            kinds += [_kind(one, short, place) for place in own]
            maps.append(one)
    if not windows:
        raise NearfarError(_nothing(path, len(maps), looks.smallest, skipped))
    labels = [kind for kind in kinds if kind is not None]
    good = len(labels) == len(kinds) and len(set(labels)) > 1
    inputs = Inputs(names, windows, labels if good else None, skipped)
    return Places(inputs, maps, torch.tensor(number))


def split(all_places: Places, hold_out: str | None) -> tuple[Places, Places | None]:
    """Part the places of one map, or of one sub-folder, from the others.

    Args:
        all_places: The places.
        hold_out: A map's file name, with or without its ending, or a sub-folder's; None for none.

    Raises:
        NearfarError: No map has that name, or all of them have.
    """
    if hold_out is None:
        return all_places, None
    names = all_places.inputs.names
    groups = [_groups(name) for name in names]
    held = [row for row, group in enumerate(groups) if hold_out in group]
    rest = [row for row, group in enumerate(groups) if hold_out not in group]
    if not held or not rest:
        known = sorted({group[0] for group in groups})
        raise NearfarError(
            f"hold_out={hold_out!r} names {'no map' if rest else 'all there is'}; wanted one of "
            f"{', '.join(known)}.{did_you_mean(hold_out, known)}"
        )
    return _rows(all_places, rest), _rows(all_places, held)


def _groups(name: str) -> tuple[str, ...]:
    """What a place's map may be called: its file, the same without an ending, its sub-folder."""
    file = Path(name.rpartition(":")[0] or name.rpartition("@")[0])
    bare = file.name.partition("#")[0]
    return (bare, Path(bare).stem, *file.parts[:-1])


def _rows(places: Places, rows: list[int]) -> Places:
    old = places.inputs
    labels = None if old.labels is None else [old.labels[row] for row in rows]
    inputs = Inputs(
        [old.names[row] for row in rows], [old.items[row] for row in rows], labels, old.skipped
    )
    return Places(inputs, places.maps, places.number[rows])


def open_maps(file: str, channel: str | None, channels: int) -> list[Map]:
    """The maps of a file; read once as long as it does not change.

    Raises:
        NearfarError: The file cannot be read; it is named.
    """
    return [
        one
        if len(one.pixels) == channels
        else replace(one, pixels=with_channels(one.pixels, channels))
        for one in _as_they_are(file, channel)
    ]


def most_channels(path: str, channel: str | None) -> int:
    """3 if a map at the path has colours, otherwise 1; files that cannot be read do not count."""
    for file in find_files(path)[0]:
        try:
            if any(len(one.pixels) == 3 for one in _as_they_are(str(file), channel)):
                return 3
        except NearfarError:
            continue
    return 1


def _as_they_are(file: str, channel: str | None) -> list[Map]:
    path = Path(file)
    try:
        stamps = [one.stat() for one in (path, grains_of(path)) if one]
    except OSError as error:
        raise NearfarError(f"{file} cannot be read: {error}") from error
    return _read(file, channel, tuple((stamp.st_mtime_ns, stamp.st_size) for stamp in stamps))


@lru_cache(maxsize=1024)
def _read(file: str, channel: str | None, stamps: tuple[tuple[int, int], ...]) -> list[Map]:
    return read_file(file, channel)


def _name(prefix: str, window: Window) -> str:
    if window.grain >= 0:
        return f"{prefix}:{window.grain}"
    return f"{prefix}@{round(window.y)},{round(window.x)}"


def _kind(one: Map, short: str, window: Window) -> str | None:
    if one.grains is not None:
        return one.kinds.get(window.grain)
    parts = Path(short).parts
    return parts[0] if len(parts) > 1 else None


def _nothing(path: str, maps: int, smallest: int, skipped: dict[str, str]) -> str:
    if maps:
        return (
            f"path={path!r}: {maps} map(s), and no grain of {smallest} pixels or more whose window "
            f"lies inside. Lower --smallest={smallest}, or set --window."
        )
    return f"path={path!r}: nothing can be read; the first: {next(iter(skipped.values()))}"
