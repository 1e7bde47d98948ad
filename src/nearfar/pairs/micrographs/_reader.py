"""Grains and places of micrographs to turned windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import NearfarError, check_range
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.micrographs._files import SHAPE
from nearfar.pairs.micrographs._map import Map, to_pixels
from nearfar.pairs.micrographs._places import open_maps, places
from nearfar.pairs.micrographs._rings import ring_invariants, ring_means, ring_spectra
from nearfar.pairs.micrographs._sample import Atlas, Views
from nearfar.pairs.micrographs._windows import RESTING_ANGLE, TILE, Window, identities, within
from nearfar.probes import Embed, Probe, Retrieval, Vectors

Sees = Literal["rings", "pixels"]


class MicrographReader(Reader):
    """Windows of maps, cut-outs as arrays, or files that hold one picture.

    Args:
        channels: 1 or 3; pictures are made to have that many.
        channel: Which image of a map that holds several; ``shape`` for the grain's outline alone.
        size: Side of the samples.
        window: Side of a window in pixels; None for 1.5 times the root of the grain's area.
        smallest: Pixels of the smallest grain.
        sees: What the encoder is given: `ring_invariants`, or the pixels.
        turns: Read every input at this many angles; the encoder averages over them.

    Raises:
        NearfarError: A size, window, smallest or turns that cannot be.
    """

    example = "MAP.npz:12"

    def __init__(
        self,
        channels: int = 1,
        channel: str | None = None,
        size: int = 32,
        window: float | None = None,
        smallest: int = 60,
        sees: Sees = "rings",
        turns: int = 1,
    ) -> None:
        check_range(16, size=size)
        check_range(1, smallest=smallest, turns=turns)
        check_range(8, window=window)
        self.channels, self.channel, self.size, self.window = channels, channel, size, window
        self.smallest, self.sees, self.turns = smallest, sees, turns
        self.settings = {
            "channels": channels,
            "channel": channel,
            "size": size,
            "window": window,
            "smallest": smallest,
            "sees": sees,
            "turns": turns,
        }

    @property
    def dim(self) -> int:
        """Numbers a window has when the encoder sees rings."""
        return self.channels * 24 * (3 * 16 - 2)

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, C, size, size) floats; (N, turns, C, size, size) with several turns.

        Args:
            inputs: A `Window`; an array, seen whole, as far as its inscribed circle goes; or the
                path of a picture, of which the middle tile is seen.

        Raises:
            NearfarError: An input that cannot be read; it is named.
        """
        if not len(inputs):
            return torch.empty((0, self.channels, self.size, self.size))
        maps: dict[tuple[str, int] | int, Map] = {}
        windows = []
        for row, item in enumerate(inputs):
            one, window = self._place(item)
            windows.append(window)
            maps.setdefault((window.file, window.page) if window.file else row, one)
        at = {key: number for number, key in enumerate(maps)}
        number = torch.tensor(
            [at[(w.file, w.page) if w.file else row] for row, w in enumerate(windows)]
        )
        atlas = Atlas(list(maps.values()), self.size)
        views = [
            atlas.windows(views_at(number, windows, turn * 360 / self.turns))
            for turn in range(self.turns)
        ]
        return views[0] if self.turns == 1 else torch.stack(views, 1)

    def prepare(self, batch: Tensor) -> Tensor:
        """What does not change when a window turns, or the window."""
        if self.sees == "pixels":
            return batch
        return ring_invariants(batch.flatten(0, -4)).view(*batch.shape[:-3], self.dim)

    def find(self, path: str) -> Inputs:
        """The grains of maps that the edge does not cut, or the tiles of micrographs."""
        return places(self, path, inside=True).inputs

    def one(self, query: str, gallery: Inputs) -> Any:
        """A place of the gallery by its name, or a picture by its path."""
        return gallery.named(query, "places")

    def baselines(self) -> dict[str, Embed]:
        """Raw pixels, pixels averaged over all rotations, and the analytic ring spectra."""

        def feature(of: Any) -> Embed:
            def embed(inputs: Sequence[Any]) -> Vectors:
                reader = MicrographReader(**{**self.settings, "turns": 1})
                parts = [
                    of(reader.read(inputs[start : start + 256])).flatten(1).numpy()
                    for start in range(0, len(inputs), 256)
                ]
                return np.concatenate(parts)

            return embed

        return {
            "raw pixels": feature(lambda windows: windows),
            "rotation-averaged pixels": feature(ring_means),
            "ring-FFT": feature(ring_spectra),
        }

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """Does a place that is turned and shifted find itself?

        Args:
            found: The gallery.
            test: Places to ask for, which join the gallery; by default those of the gallery. Of
                more than 1,000 that many are asked for.
        """
        every = [*found.items, *(test.items if test else ())]
        first = len(found.items) if test else 0
        asked = [first + row for row in _evenly(len(every) - first, 1000)]
        # All that is asked for, and others up to 5,000: enough to be hard to find.
        others = sorted(set(range(len(every))) - set(asked))
        chosen = asked + [others[row] for row in _evenly(len(others), 5000 - len(asked))]
        gallery, rng = [every[row] for row in chosen], np.random.default_rng(0)
        sought = gallery[: len(asked)]
        return Retrieval(
            gallery=gallery,
            ids=identities(gallery, [self.open(w.file)[w.page] for w in gallery]),
            targets=range(len(asked)),
            queries=[self.turned(w, rng.uniform(0, 360), rng) for w in sought],
            right_angles=[self.turned(w, RESTING_ANGLE + 90 * rng.integers(1, 4)) for w in sought],
        )

    def turned(
        self, window: Window, angle: float, rng: np.random.Generator | None = None
    ) -> Window:
        """The same place at another angle, its centre off by up to 5 % of the side with a ``rng``.

        A window at the map's edge is moved inwards only: there is no material outside.
        """
        y, x = window.y, window.x
        if rng is not None:
            move = rng.uniform(-0.1, 0.1, 2) * window.half
            one = self.open(window.file)[window.page]
            y, x = within(one, y + float(move[0]), x + float(move[1]), window.half)
        return replace(window, angle=float(angle), y=y, x=x)

    def pictures(self, inputs: Sequence[Any]) -> Tensor:
        """(N, size, size, 3) uint8: what is seen through the disk."""
        reader = MicrographReader(**{**self.settings, "turns": 1})
        windows = (reader.read(inputs) * 255).round().to(torch.uint8)
        return windows.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)

    def open(self, file: str) -> list[Map]:
        """The maps of a file, with this reader's channel and channels."""
        return open_maps(file, self.channel, self.channels)

    def _place(self, item: Any) -> tuple[Map, Window]:
        if isinstance(item, Window):
            return self.open(item.file)[item.page], item
        if isinstance(item, str | Path):
            one = self.open(str(item))[0]
            if one.grains is not None:
                raise NearfarError(
                    f"{item} is a map with many grains; wanted one of them by its name, such as "
                    f"'{Path(item).name}:1'."
                )
            # At the training's magnification: the middle tile, not the whole scaled down.
            side = min(self.window or TILE, *one.side)
        else:
            array = np.asarray(item)
            if self.channel == SHAPE:
                one = Map("an array", torch.from_numpy(array.astype(np.int32))[None])
            else:
                one = Map("an array", to_pixels(array, self.channels))
            side = min(one.side)
        y, x = ((length - 1) / 2 for length in one.side)
        grain = int(one.pixels[0, int(y), int(x)]) if self.channel == SHAPE else -1
        return one, Window("", 0, y, x, (side - 1) / 2, grain)


def views_at(number: Tensor, windows: list[Window], turn: float = 0.0) -> Views:
    """Windows as an `Atlas` takes them, all turned by ``turn`` degrees more."""
    table = torch.tensor([(w.y, w.x, w.half, w.angle + turn) for w in windows], dtype=torch.float32)
    y, x, half, angle = table.unbind(1)
    grain = torch.tensor([w.grain for w in windows])
    return Views(number, y, x, half, angle, grain, torch.ones(len(windows)))


def _evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` rows, evenly spaced."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))
