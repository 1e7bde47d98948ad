"""Clips whose places can be embedded: videos, stored stretches, pairs of pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.pixels._annotations import Marks, read_mask
from nearfar.pairs.pixels._flow import Points
from nearfar.pairs.pixels._spots import Frame, Grid
from nearfar.pairs.pixels._store import Stretch
from nearfar.pairs.pixels._videos import Picture, Video, decoded


class Film(ABC):
    """Frames of one size, and their places as inputs.

    Attributes:
        name: What a person calls it.
        shape: (height, width) of a frame in pixels.
    """

    name: str
    shape: tuple[int, int]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def at(self, number: int) -> Picture:
        """(H, W, 3) uint8."""

    def picture(self, number: int) -> Picture:
        """(H, W, 3) uint8."""
        return self.at(number)

    def frames(self) -> Iterator[Picture]:
        """Every frame in turn."""
        return (self.at(number) for number in range(len(self)))

    def grid(self, number: int, step: float) -> Grid:
        """A place every ``step`` pixels of a frame."""
        return Grid.every(Frame(self, number), self.shape, step)

    def spots(self, number: int, points: Points) -> Grid:
        """Certain places of a frame: (N, 2) x and y."""
        return Grid(Frame(self, number), points)


class StretchClip(Film):
    """Stored frames that follow each other."""

    def __init__(self, stretch: Stretch) -> None:
        self._frames, self.name = stretch.frames, stretch.name
        self.shape = (int(self._frames.shape[1]), int(self._frames.shape[2]))

    def __len__(self) -> int:
        return len(self._frames)

    def at(self, number: int) -> Picture:
        return np.asarray(self._frames[number])


class PairClip(Film):
    """Two pictures of one size.

    Args:
        name: What a person calls them.
        pictures: Files, or (H, W, 3) uint8.

    Raises:
        NearfarError: They cannot be read, or differ in size.
    """

    def __init__(self, name: str, pictures: Sequence[Path | Picture]) -> None:
        self.name, self._pictures = name, pictures
        shapes = [self.at(number).shape[:2] for number in range(2)]
        if shapes[0] != shapes[1]:
            raise NearfarError(f"{name}: its pictures are {shapes[0]} and {shapes[1]}.")
        self.shape = (int(shapes[0][0]), int(shapes[0][1]))

    def __len__(self) -> int:
        return 2

    def at(self, number: int) -> Picture:
        one = self._pictures[number]
        return read_picture_file(one) if isinstance(one, Path) else one


class VideoClip(Film):
    """A video with what is known of it.

    Args:
        video: The frames.
        masks: Files by the name of their frame's file, without its ending.
        marks: Point tracks, if there are any.

    Attributes:
        masks: Files by the number of their frame.
        skipped: Masks and marks of no frame, each with the reason.
    """

    def __init__(
        self, video: Video, masks: dict[str, Path] | None = None, marks: Marks | None = None
    ) -> None:
        self.video, self.name, self.shape = video, video.name, video.shape
        self._marks = marks
        files, stems = masks or {}, (marks.stems if marks else None) or []
        self._numbers = {stem: video.number_of(stem) for stem in [*files, *stems]}
        placed = {file: self._numbers[stem] for stem, file in files.items()}
        self.masks = {number: file for file, number in placed.items() if number is not None}
        self.skipped = {
            f"{self.name}/{stem}": f"{video.path} has no readable frame {stem}, which has a mask "
            "or marked points."
            for stem, number in self._numbers.items()
            if number is None
        }
        self._values: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.video)

    def at(self, number: int) -> Picture:
        return self.video.at(number)

    def frames(self) -> Iterator[Picture]:
        return self.video.frames()

    def mask(self, number: int) -> NDArray[np.int64] | None:
        """(H, W) integers, 0 the ground, 1..K the objects of the first mask; None without one.

        Raises:
            NearfarError: Its file cannot be read.
        """
        if number not in self.masks:
            return None
        if self._values is None:
            first = read_mask(self.masks[min(self.masks)], self.shape)
            self._values = np.union1d([0], first)
        values = read_mask(self.masks[number], self.shape)
        values[~np.isin(values, self._values)] = 0
        return np.searchsorted(self._values, values)

    @property
    def tracks(self) -> Points | None:
        """(N, T, 2) x and y in pixels of these frames, NaN where not marked; None without any."""
        if self._marks is None:
            return None
        size = self._marks.size or self.video.whole
        factor = np.array([self.shape[1] / size[1], self.shape[0] / size[0]], np.float32)
        known, stems = self._marks.points * factor, self._marks.stems
        numbers = range(known.shape[1]) if stems is None else [self._numbers[s] for s in stems]
        points = np.full((len(known), len(self), 2), np.nan, np.float32)
        for column, number in enumerate(numbers):
            if number is not None and number < len(self):
                points[:, number] = known[:, column]
        points = points[~np.isnan(points).all((1, 2))]
        return points if len(points) else None


def read_picture_file(file: Path) -> Picture:
    """(H, W, 3) uint8 RGB.

    Raises:
        NearfarError: It is no picture.
    """
    import cv2

    picture = decoded(file, cv2.IMREAD_COLOR)
    if picture is None:
        raise NearfarError(f"{file} cannot be read as a picture.")
    return np.ascontiguousarray(picture[..., ::-1])
