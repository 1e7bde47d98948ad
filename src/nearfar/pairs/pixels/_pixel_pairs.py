"""A pixel and where optical flow says it went are a pair."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._pairs import Batch
from nearfar.pairs.pixels._clips import StretchClip
from nearfar.pairs.pixels._correspond import Correspondence, correspond
from nearfar.pairs.pixels._flow import Method, Points
from nearfar.pairs.pixels._spots import Frame, Look, Spot, to_pixels
from nearfar.pairs.pixels._store import Store, Stretch
from nearfar.pairs.pixels._views import NOTHING, View, Window, cut, recolour

CELLS = 8  # Items of a frame, along each side.
ALONE = 256  # Up to so many rows, each has a window of its own.


class PixelPairs:
    """Places of frames, the flow that moves them, and the views that both are shown in.

    An item is one of 8 x 8 places of a frame. A batch of up to 256 rows shows each in a window of
    its own. A larger one would have to encode a window for every pixel; instead its first rows get
    windows, and ``pixels`` random places of each window make up the batch.

    A key stands in the crowd of a query where it is surely another point: in the same window, at
    least ``near`` pixels from the positive, or in another video. Other windows of the same video
    may show the same point and stay out.

    Args:
        store: Frames and flows.
        side: Of a window in pixels.
        pixels: Places that share a window in a batch of more than 256.
        gap: Most frames from query to key; 0 shows one frame twice, without any flow.
        flow: Method of optical flow.
        checks: Leave out what does not come back, changes its brightness or has no texture.
        near: Pixels from the positive within which others are no negatives.
        ring: Up to this many pixels around another place every second place is drawn, to make the
            crowd hard; 0 draws all anywhere in the window.
        rotate: Largest turn of a view in degrees.
        scale: Largest change of the logarithm of a view's size.
        colour: Strength of the changes of colour.
        hide: Chance that a part of a view shows another window of the batch instead, so that a
            pixel is known by what is near it and not by what is behind it.

    Raises:
        NearfarError: A number that makes no sense.
    """

    def __init__(
        self,
        store: Store,
        *,
        side: int = 128,
        pixels: int = 64,
        gap: int = 4,
        flow: Method = "dis",
        checks: bool = True,
        near: float = 6.0,
        ring: float = 0.0,
        rotate: float = 15.0,
        scale: float = 0.25,
        colour: float = 0.15,
        hide: float = 0.5,
    ) -> None:
        if gap < 0 or side < 16 or pixels < 2 or (ring and ring <= near):
            raise NearfarError(
                f"gap={gap}, side={side}, pixels={pixels}, ring={ring}, near={near}: wanted a gap "
                "of 0 frames or more, a side of 16 pixels or more, 2 pixels a window or more, and "
                "a ring of 0 or wider than near."
            )
        if not 0 <= hide <= 1:
            raise NearfarError(f"hide={hide}: wanted a chance, 0 <= hide <= 1, such as 0.5.")
        self.side, self.pixels, self.gap, self.method = side, pixels, gap, flow
        self.checks, self.near, self.ring = checks, near, ring
        self.rotate, self.scale, self.colour, self.hide = rotate, scale, colour, hide
        self.store = store
        self._frames = [
            (stretch, number)
            for stretch in store.stretches
            for number in range(len(stretch.frames))
        ]
        digest = hashlib.blake2b(repr((gap, flow)).encode(), digest_size=8)
        for stretch in store.stretches:
            digest.update(f"{stretch.name} {stretch.first} {stretch.frames.shape}".encode())
            digest.update(stretch.frames[0].tobytes() + stretch.frames[-1].tobytes())
        self.fingerprint = digest.hexdigest()

    def __len__(self) -> int:
        return len(self._frames) * CELLS**2

    def names(self, rows: Tensor) -> list[str]:
        return [self._name(row) for row in rows.tolist()]

    @property
    def spots(self) -> Sequence[Spot]:
        """Every item as an input."""
        return _Spots(self)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two views of the places of each row; see the class for more than 256 of them."""
        rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
        count = len(rows) if len(rows) <= ALONE else -(-len(rows) // self.pixels)
        shares = [len(part) for part in np.array_split(np.arange(len(rows)), count)]
        drawn = [
            self._window(row, share, rng)
            for row, share in zip(rows[:count].tolist(), shares, strict=True)
        ]
        owner = torch.repeat_interleave(torch.tensor(shares))
        query, key = (self._look([one[way] for one in drawn], owner, device) for way in range(2))
        here, there = (
            torch.from_numpy(np.concatenate([one[way].points for one in drawn])) for way in (0, 1)
        )
        video = torch.tensor([one[0].video for one in drawn])[owner]
        same = owner[:, None] == owner
        close = torch.minimum(torch.cdist(here, here), torch.cdist(there, there)) < self.near
        stranger = torch.where(same, ~close, video[:, None] != video)
        # A place that was drawn twice is one item.
        twice = same & (torch.cdist(here, here) < 1e-3)
        ids = twice.int().argmax(1)
        return Batch(query, key, ids.to(device), mask=stranger.to(device))

    def masked(self, frames: int = 24, each: int = 256) -> dict[str, float]:
        """Shares of random pixels that the checks leave out, up to ``gap`` frames on.

        Args:
            frames: How many frames are looked at, evenly spaced.
            each: Pixels of each.
        """
        rng = np.random.default_rng(0)
        found: list[Correspondence] = []
        for at in np.linspace(0, len(self._frames) - 1, frames).astype(int):
            stretch, number = self._frames[at]
            points = rng.uniform(0, 1, (each, 2)) * (np.array(stretch.frames.shape[2:0:-1]) - 1)
            end = self._partner(stretch, number, rng)
            found.append(correspond(stretch, number, end, points.astype(np.float32), self.method))
        share = {
            name: 1 - float(np.mean([getattr(one, name).mean() for one in found]))
            for name in ("good", "returns", "bright", "textured")
        }
        return {"masked": share.pop("good"), **share}

    def _window(self, row: int, count: int, rng: np.random.Generator) -> tuple[View, View]:
        stretch, begin, place = self.place(row)
        end = self._partner(stretch, begin, rng)
        mirror = bool(rng.integers(2))
        query = self._draw_window(place, mirror, rng)
        points = np.concatenate([place[None], self._candidates(query, 4 * count + 16, rng)])
        found = correspond(stretch, begin, end, points, self.method)
        key = self._draw_window(found.there[0], mirror, rng)
        good = self._seen(stretch, points, query) & self._seen(stretch, found.there, key)
        good &= (found.returns & found.bright & found.textured) if self.checks else True
        there = found.there
        if not good.any():
            # Nothing passed: the frame is its own partner, whose every pixel is known and shown.
            end, there = begin, points
            query = replace(query, cover=NOTHING)
            key = replace(self._draw_window(place, mirror, rng), cover=NOTHING)
            good = self._seen(stretch, points, query) & self._seen(stretch, points, key)
            good[0] = True
        rows = np.resize(np.flatnonzero(good), count)
        return (
            View(stretch.video, stretch.frames[begin], query, points[rows]),
            View(stretch.video, stretch.frames[end], key, there[rows]),
        )

    def _draw_window(self, place: Points, mirror: bool, rng: np.random.Generator) -> Window:
        return Window.draw(
            rng,
            place,
            self.side,
            rotate=self.rotate,
            scale=self.scale,
            mirror=mirror,
            hide=self.hide,
        )

    def _candidates(self, window: Window, count: int, rng: np.random.Generator) -> Points:
        inside = rng.uniform(2, self.side - 3, (count, 2)).astype(np.float32)
        points = window.to_frame(inside)
        if self.ring:
            angle = rng.uniform(0, 2 * np.pi, count // 2)
            radius = rng.uniform(self.near, self.ring, count // 2)
            around = np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]
            points[1::2] = points[0 : 2 * len(around) : 2] + around.astype(np.float32)
        return points

    def _seen(self, stretch: Stretch, points: Points, window: Window) -> NDArray[np.bool_]:
        height, width = stretch.frames.shape[1:3]
        inside = (points >= 0).all(1) & (points[:, 0] <= width - 1) & (points[:, 1] <= height - 1)
        return np.asarray(inside & window.shows(points))

    def _partner(self, stretch: Stretch, number: int, rng: np.random.Generator) -> int:
        if not self.gap:
            return number
        last = len(stretch.frames) - 1
        steps = int(rng.integers(1, self.gap + 1))
        later = bool(rng.integers(2))
        end = number + steps if later else number - steps
        if not 0 <= end <= last:
            end = number - steps if later else number + steps
        return min(max(end, 0), last)

    def _look(self, views: list[View], owner: Tensor, device: torch.device) -> Look:
        pictures = to_pixels(cut(views)).to(device)
        places = np.concatenate([view.window.to_view(view.points) for view in views])
        colours = recolour(pictures, self.colour)
        return Look.of(colours, owner.to(device), torch.from_numpy(places).to(device))

    def place(self, row: int) -> tuple[Stretch, int, Points]:
        """The stretch of an item, the number of its frame there, and x and y."""
        frame, cell = divmod(row, CELLS**2)
        stretch, number = self._frames[frame]
        height, width = stretch.frames.shape[1:3]
        y, x = divmod(cell, CELLS)
        place = np.array([(x + 0.5) / CELLS * (width - 1), (y + 0.5) / CELLS * (height - 1)])
        return stretch, number, place.astype(np.float32)

    def _name(self, row: int) -> str:
        stretch, number, (x, y) = self.place(row)
        return f"{stretch.name}/{stretch.first + number:05} at {x:.0f},{y:.0f}"


class _Spots(Sequence[Spot]):
    """Items as inputs, made when they are asked for."""

    def __init__(self, pairs: PixelPairs) -> None:
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        stretch, number, (x, y) = self._pairs.place(row)
        return Spot(Frame(StretchClip(stretch), number), float(x), float(y))
