"""Where to look: a window for each grain, or tiles where there are no grains."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nearfar.pairs.micrographs._map import Map

# Embeddings look at windows that are turned by this much: every view is resampled then, as in
# training. A window on the map's own grid would be sharper than any other.
RESTING_ANGLE = 13.0
# The side of a tile where nobody says, in pixels.
TILE = 64.0
# A grain's window is a square of this many times the root of the grain's area.
_SIDES = 1.5


@dataclass(frozen=True)
class Window:
    """One place of one map; what `MicrographReader` reads.

    Attributes:
        file: The map's file.
        page: Number of the map in it.
        y: Centre, in pixels.
        x: Centre, in pixels.
        half: Half of its side, in pixels.
        grain: The grain at its centre; -1 where the map has none.
        angle: How it is turned, in degrees.
    """

    file: str
    page: int
    y: float
    x: float
    half: float
    grain: int = -1
    angle: float = RESTING_ANGLE


def windows_of(
    one: Map, file: str, page: int, *, window: float | None, smallest: int, inside: bool
) -> list[Window]:
    """The windows of a map: one for each grain, or a grid of tiles that do not overlap.

    Args:
        one: The map.
        file: Its file.
        page: Its number in the file.
        window: Side of a window in pixels; None for 1.5 times the root of the grain's area, and
            for tiles of 64 pixels.
        smallest: Pixels of the smallest grain.
        inside: Only grains that do not touch the map's edge, with a window that does not either.
            Otherwise windows are moved inwards, and grains that the edge cuts are in.
    """
    height, width = one.side
    if one.grains is None:
        side = min(window or TILE, height, width)
        return [
            Window(file, page, (row + 0.5) * side - 0.5, (column + 0.5) * side - 0.5, side / 2)
            for row in range(int(height / side))
            for column in range(int(width / side))
        ]
    out = []
    for grain, area, y, x, touches in _regions(one.grains):
        half = window / 2 if window else _SIDES / 2 * math.sqrt(area)
        if area < smallest or 2 * half > min(height, width) - 1:
            continue
        if inside:
            edge = min(y, x, height - 1 - y, width - 1 - x)
            if touches or edge < half - 0.5:
                continue
        out.append(Window(file, page, *within(one, y, x, half), half, grain))
    return out


def within(one: Map, y: float, x: float, half: float) -> tuple[float, float]:
    """The centre nearest to (y, x) whose window does not reach over the map's edge."""
    height, width = one.side
    return (
        min(max(y, min(half, height / 2)), max(height - 1 - half, height / 2)),
        min(max(x, min(half, width / 2)), max(width - 1 - half, width / 2)),
    )


def identities(windows: Sequence[Window], maps: Sequence[Map]) -> list[int]:
    """N integers, equal for windows that must never be each other's negatives.

    The windows of one grain share an id, in copies of its map too; so do tiles with equal pixels.

    Args:
        windows: N windows.
        maps: The map that each lies in.
    """
    seen: dict[object, int] = {}
    ids = []
    for window, one in zip(windows, maps, strict=True):
        identity: object = (one.key, window.grain)
        if window.grain < 0:
            top, left = (round(centre - window.half + 0.5) for centre in (window.y, window.x))
            side = round(2 * window.half)
            tile = one.pixels[:, top : top + side, left : left + side].contiguous()
            identity = hashlib.blake2b(tile.numpy().tobytes(), digest_size=8).digest()
        ids.append(seen.setdefault(identity, len(seen)))
    return ids


def _regions(grains: Tensor) -> list[tuple[int, int, float, float, bool]]:
    """Of each grain its label, pixels, centre of mass, and whether it touches the edge."""
    labels = grains.numpy()
    rows, columns = np.nonzero(labels >= 0)
    names, member = np.unique(labels[rows, columns], return_inverse=True)
    area = np.bincount(member, minlength=len(names))
    y = np.bincount(member, rows, len(names)) / area
    x = np.bincount(member, columns, len(names)) / area
    edge = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist())
    return [
        (int(name), int(a), float(cy), float(cx), int(name) in edge)
        for name, a, cy, cx in zip(names, area, y, x, strict=True)
    ]
