"""Frames and flows at small size, on disk: what training reads again and again."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.pixels._flow import Field, Method, flow_between
from nearfar.pairs.pixels._videos import Picture, Video
from nearfar.progress import tracked

# A long video gives stretches of this many frames, evenly spaced over it.
STRETCH = 32
_STEPS = 32  # Parts of a pixel that a stored displacement knows.


class Stretch:
    """Frames that follow each other, and the flows between neighbours, made when first asked for.

    Attributes:
        video: Number of the video that it is from.
        name: What a person calls the video.
        first: Number of its first frame in the video.
        frames: (T, H, W, 3) uint8, a file that is mapped into memory.
    """

    def __init__(
        self, video: int, name: str, first: int, frames: NDArray[np.uint8], flows: NDArray[np.int16]
    ) -> None:
        self.video, self.name, self.first, self.frames = video, name, first, frames
        self._flows, self._known = flows, np.zeros(flows.shape[:2], bool)

    def flow(self, number: int, method: Method, *, back: bool = False) -> Field:
        """(H, W, 2) from frame ``number`` to the next one, or from the next one back to it."""
        way = int(back)
        if not self._known[number, way]:
            pair = self.frames[number], self.frames[number + 1]
            field = flow_between(*(pair[::-1] if back else pair), method)
            self._flows[number, way] = (field * _STEPS).round().clip(-32768, 32767)
            self._known[number, way] = True
        return np.asarray(self._flows[number, way], np.float32) / np.float32(_STEPS)


class Store:
    """The frames that training sees of every video.

    Args:
        videos: What to read, each from its beginning to its end, once.
        most: Frames of a video; a longer one gives stretches of 32, evenly spaced.

    Attributes:
        stretches: All of two frames or more.
        skipped: What could not be read on the way.

    Raises:
        NearfarError: No video has two frames.
    """

    def __init__(self, videos: Sequence[Video], most: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nearfar_"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.stretches: list[Stretch] = []
        self.skipped: dict[str, str] = {}
        for number, video in enumerate(tracked(videos, "Reading videos")):
            self._read(number, video, most)
            self.skipped |= video.skipped
        if not self.stretches:
            raise NearfarError(
                f"None of the {len(videos)} videos has two frames; wanted frames that follow each "
                "other."
            )

    def __len__(self) -> int:
        return sum(len(one.frames) for one in self.stretches)

    def _read(self, number: int, video: Video, most: int) -> None:
        runs = stretches(len(video), most)
        begin = {first: length for first, length in runs if length > 1}
        frames: list[Picture] | None = None
        first = 0
        for at, frame in enumerate(video.frames()):
            if at in begin:
                frames, first = [], at
            if frames is None:
                continue
            frames.append(frame)
            if len(frames) == begin[first]:
                self._keep(number, video.name, first, np.stack(frames))
                frames = None

    def _keep(self, number: int, name: str, first: int, frames: NDArray[np.uint8]) -> None:
        place = self._folder / f"{len(self.stretches):06}"
        kept = np.lib.format.open_memmap(f"{place}.npy", "w+", np.uint8, frames.shape)
        kept[:] = frames
        shape = (len(frames) - 1, 2, *frames.shape[1:3], 2)
        flows = np.lib.format.open_memmap(f"{place}_flow.npy", "w+", np.int16, shape)
        self.stretches.append(Stretch(number, name, first, kept, flows))


def stretches(length: int, most: int, each: int = STRETCH) -> list[tuple[int, int]]:
    """First frame and length of each stretch.

    Example:
        >>> stretches(100, 200), stretches(100, 64)
        ([(0, 32), (32, 32), (64, 36)], [(0, 32), (68, 32)])
    """
    count = max(1, min(length, most) // each)
    if length <= most:
        firsts = [each * number for number in range(count)]
        return [
            (first, [*firsts[1:], length][number] - first) for number, first in enumerate(firsts)
        ]
    each = min(each, most)
    return [(int(first), each) for first in np.linspace(0, length - each, count).round()]
