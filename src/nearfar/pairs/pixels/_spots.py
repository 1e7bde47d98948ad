"""Pixels as inputs: a place in a frame, all places of a frame, and what the encoder takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.pairs.pixels._flow import Points
from nearfar.pairs.pixels._videos import Picture

# Pictures (M, 3, H, W), which of them each row is of (N,), and where (N, 2); None for the mean.
Part = tuple[Tensor, Tensor, Tensor | None]


class Source(Protocol):
    """What frames come from.

    Attributes:
        name: What a person calls it.
    """

    name: str

    def at(self, number: int) -> Picture:
        """(H, W, 3) uint8."""
        ...


@dataclass(frozen=True)
class Frame:
    """A frame of a video, read when it is looked at; as an input, its mean vector.

    Attributes:
        video: Where it is from.
        number: From 0.
    """

    video: Source
    number: int

    @property
    def name(self) -> str:
        """Video and number."""
        return f"{self.video.name}/{self.number:05}"

    def picture(self) -> Picture:
        """(H, W, 3) uint8."""
        return self.video.at(self.number)


@dataclass(frozen=True)
class Spot:
    """A place in a picture, in pixels; whole numbers are pixel centres."""

    frame: Any
    x: float
    y: float


class Grid(Sequence[Spot]):
    """Places of one picture, as many inputs.

    Args:
        frame: A `Frame`, or (H, W, 3) uint8.
        places: (N, 2) x and y.
        shape: (rows, columns) where they are a regular grid.
    """

    def __init__(self, frame: Any, places: Points, shape: tuple[int, int] | None = None) -> None:
        self.frame, self.places = frame, np.asarray(places, np.float32)
        self.shape = shape or (1, len(places))

    @classmethod
    def every(cls, frame: Any, size: tuple[int, int], step: float) -> Grid:
        """The whole picture, a place every ``step`` pixels from its upper left one.

        Args:
            frame: See above.
            size: (height, width) of the picture.
            step: In pixels.
        """
        y, x = (np.arange(0, length - 0.5, step) for length in size)
        grid = np.stack(np.meshgrid(x, y), -1)
        return cls(frame, grid.reshape(-1, 2), (len(y), len(x)))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, row: int) -> Spot: ...
    @overload
    def __getitem__(self, row: slice) -> Grid: ...
    def __getitem__(self, row: int | slice) -> Spot | Grid:
        if isinstance(row, slice):
            return Grid(self.frame, self.places[row])
        return Spot(self.frame, float(self.places[row, 0]), float(self.places[row, 1]))


class Look:
    """What a dense encoder takes: parts that are read one after another, so that few are in memory.

    Args:
        parts: Makes the parts, each time anew.
        device: Where they go.
    """

    def __init__(
        self, parts: Callable[[], Iterator[Part]], device: torch.device | str = "cpu"
    ) -> None:
        self._parts, self._device = parts, device

    @classmethod
    def of(cls, pictures: Tensor, owner: Tensor, places: Tensor) -> Look:
        """One part that is in memory already.

        Args:
            pictures: (M, 3, H, W) floats in 0..1.
            owner: (N,) which picture each row is of.
            places: (N, 2) x and y in it.
        """
        return cls(lambda: iter([(pictures, owner, places)]), pictures.device)

    def to(self, device: torch.device | str) -> Look:
        """The same, elsewhere."""
        return Look(self._parts, device)

    def __iter__(self) -> Iterator[Part]:
        for pictures, owner, places in self._parts():
            yield (
                pictures.to(self._device),
                owner.to(self._device),
                None if places is None else places.to(self._device),
            )


def look_at(inputs: Sequence[Any], picture: Callable[[Any], Picture]) -> Look:
    """Inputs as parts, the places of one picture together, the order kept.

    Args:
        inputs: A `Grid`; or `Spot`, or whole pictures, whatever ``picture`` reads.
        picture: From an input to (H, W, 3) uint8.
    """

    def parts() -> Iterator[Part]:
        if isinstance(inputs, Grid):
            yield _part(picture(inputs.frame), inputs.places)
            return
        waiting: list[Spot] = []
        for item in inputs:
            if waiting and not (isinstance(item, Spot) and _same(item.frame, waiting[0].frame)):
                yield _together(waiting, picture)
                waiting = []
            if isinstance(item, Spot):
                waiting.append(item)
            else:
                yield _part(picture(item), None)
        if waiting:
            yield _together(waiting, picture)

    return Look(parts)


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, Frame) and a == b)


def _together(spots: list[Spot], picture: Callable[[Any], Picture]) -> Part:
    return _part(picture(spots[0].frame), np.array([(s.x, s.y) for s in spots], np.float32))


def _part(picture: NDArray[np.uint8], places: Points | None) -> Part:
    pixels = to_pixels(picture[None])
    if places is None:
        return pixels, torch.zeros(1, dtype=torch.long), None
    return pixels, torch.zeros(len(places), dtype=torch.long), torch.from_numpy(places)


def to_pixels(pictures: NDArray[np.uint8]) -> Tensor:
    """(M, H, W, 3) uint8 to (M, 3, H, W) floats in 0..1, channels last in memory."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
