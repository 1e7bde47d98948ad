"""Videos and folders of frames as inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar.errors import NearfarError
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.pixels._clips import read_picture_file
from nearfar.pairs.pixels._flow import Method
from nearfar.pairs.pixels._footage import Footage
from nearfar.pairs.pixels._raw import raw_features
from nearfar.pairs.pixels._spots import Frame, Look, Spot, look_at
from nearfar.pairs.pixels._videos import Picture, Video, find_videos, scaled
from nearfar.probes import Embed, PixelProbe, Probe

PART = 64  # Frames whose vectors are in memory at a time.
THUMBNAIL = 48


class Frames(list[Frame]):
    """Every frame of some footage.

    Attributes:
        footage: Where they are from.
    """

    def __init__(self, footage: Footage) -> None:
        super().__init__(footage.frames())
        self.footage = footage


class PixelReader(Reader):
    """Frames as inputs are their mean vectors; a `Spot` or a `Grid` is a place, or many.

    Args:
        size: The shorter side of a frame is scaled down to this.
        flow: Optical flow that features are compared with.
    """

    batch_size = 2**16  # A grid in one piece; the encoder goes through pictures one by one.
    example = "FRAME"

    def __init__(self, size: int = 240, flow: Method = "dis") -> None:
        if size < 16:
            raise NearfarError(f"size={size}: wanted the shorter side of a frame, 16 or more.")
        self.size, self.flow = size, flow
        self.settings = {"size": size, "flow": flow}

    def read(self, inputs: Sequence[Any]) -> Look:
        """Parts that are read one after another, whatever their number.

        Args:
            inputs: A `Grid`, or a list of `Spot`, `Frame`, paths of pictures or (H, W, 3) uint8.

        Raises:
            NearfarError: When the encoder comes to an input that cannot be read; it is named.
        """
        return look_at(inputs, self._picture)

    def prepare(self, batch: Look) -> Look:
        """The batch as it is."""
        return batch

    def footage(self, path: str) -> Footage:
        """Videos below a path, with the masks, tracks and known flows beside them."""
        return Footage.find(path, self.size)

    def find(self, path: str) -> Inputs:
        """Every frame of every video below a path, and masks, tracks and known flows beside them.

        Masks of ``frames/dog`` lie in ``masks/dog`` (DAVIS' own ``JPEGImages`` and ``Annotations``
        are understood), tracks in BADJA's JSON or in CSV files named after their clip.
        """
        footage = self.footage(path)
        frames = Frames(footage)
        skipped = dict(footage.skipped)
        for clip in footage.clips:
            skipped |= clip.video.skipped
        return Inputs([frame.name for frame in frames], frames, None, skipped)

    def stream(self, path: str) -> Iterator[Inputs]:
        """Frames as they are decoded, a few at a time."""
        videos, skipped = find_videos(path, self.size)
        for video in videos:
            waiting: list[Picture] = []
            first = 0
            for picture in video.frames():
                waiting.append(picture)
                if len(waiting) == PART:
                    yield _part(video, first, waiting)
                    first, waiting = first + PART, []
            if waiting:
                yield _part(video, first, waiting)
            skipped |= video.skipped
        if skipped:
            yield Inputs([], [], None, skipped)

    def one(self, query: str, gallery: Inputs) -> Any:
        """A frame by its name (dog/00012), or a picture by its path."""
        return gallery.named(query, "frames")

    def baselines(self) -> dict[str, Embed]:
        """Patches, normalised patches and colours of places."""
        return raw_features(self.read)

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """Masks, tracks and known flows, whatever was found; else warps of the frames themselves.

        Args:
            found: Of `find`.
            test: If given, this is judged by instead.
        """
        frames = (test or found).items
        return self.judge(frames.footage) if isinstance(frames, Frames) else None

    def judge(self, footage: Footage) -> PixelProbe:
        """The probe of some footage, this reader's flow the opponent."""
        return footage.probe(self.flow)

    def pictures(self, inputs: Sequence[Any]) -> torch.Tensor:
        """(N, 48, 48, 3) uint8: what surrounds a place; whole frames scaled."""
        import cv2

        out = np.zeros((len(inputs), THUMBNAIL, THUMBNAIL, 3), np.uint8)
        for row, item in enumerate(inputs):
            side = (THUMBNAIL, THUMBNAIL)
            if isinstance(item, Spot):
                picture = np.ascontiguousarray(self._picture(item.frame))
                out[row] = cv2.getRectSubPix(picture, side, (item.x, item.y))
            else:
                out[row] = cv2.resize(self._picture(item), side, interpolation=cv2.INTER_AREA)
        return torch.from_numpy(out)

    def _picture(self, item: Any) -> Picture:
        if isinstance(item, Frame):
            return item.picture()
        if isinstance(item, str | Path):
            return scaled(read_picture_file(Path(item)), self.size)
        array = np.asarray(item)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise NearfarError(
                f"an input of shape {array.shape} and type {array.dtype}; wanted (H, W, 3) uint8, "
                "a Spot, a Frame or the path of a picture."
            )
        return array


def _part(video: Video, first: int, pictures: list[Picture]) -> Inputs:
    names = [f"{video.name}/{first + number:05}" for number in range(len(pictures))]
    return Inputs(names, pictures)
