"""Videos and folders of frames, a frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs._walk import folders, printable

Picture = NDArray[np.uint8]
VIDEOS = frozenset([".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"])
PICTURES = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".webp"])
# Folders beside videos that hold none.
_BESIDE = frozenset(["annotations", "masks"])


class Video:
    """A video file or a folder of frames, read from the front; a frame is scaled as it is read.

    Args:
        path: A video file, or a folder whose pictures are the frames, in the order of their names.
        name: What a person calls it; by default the path's last part without its ending.
        size: The shorter side of a frame is scaled down to this; None keeps it.

    Attributes:
        whole: (height, width) before scaling.
        shape: (height, width) of the frames that are read.
        rate: Frames a second; 25 for a folder.
        skipped: Frames of a folder that could not be read, each with the reason.

    Raises:
        NearfarError: It holds no frame that can be read.
    """

    def __init__(self, path: str | Path, name: str | None = None, size: int | None = None) -> None:
        self.path, self.size = Path(path), size
        self.name = name or self.path.stem
        self.skipped: dict[str, str] = {}
        self.rate = 25.0
        self._files = _pictures(self.path) if self.path.is_dir() else None
        self._numbers: dict[str, int] = {}
        self._reading: Iterator[Picture] | None = None
        self._number, self._last = -1, np.zeros((0, 0, 3), np.uint8)
        self._count: int | None = None
        self.whole = self.shape = (0, 0)
        first = next(self.frames(), None)
        if first is None:
            raise NearfarError(
                f"{self.path} holds no frame that can be read. Wanted a video "
                f"({', '.join(sorted(VIDEOS))}) or a folder of pictures."
            )
        self.shape = (int(first.shape[0]), int(first.shape[1]))

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self.frames())
        return self._count

    def number_of(self, stem: str) -> int | None:
        """The frame that a mask's or a mark's file name is about; None where there is none.

        Args:
            stem: The name of a frame's file without its ending; in a video file, its number.
        """
        if self._files is None:
            return int(stem) if stem.isdecimal() and int(stem) < len(self) else None
        # Frames that cannot be read shift the ones behind them: known after one pass.
        return self._numbers.get(stem) if len(self) else None

    def frames(self) -> Iterator[Picture]:
        """Every frame in turn, (H, W, 3) uint8 RGB.

        Raises:
            NearfarError: A video file that cannot be opened.
        """
        source = self._decode() if self._files is None else self._load()
        for frame in source:
            self.whole = (int(frame.shape[0]), int(frame.shape[1]))
            yield scaled(frame, self.size)

    def at(self, number: int) -> Picture:
        """One frame. Going forward is fast; going back starts a video file over.

        Raises:
            NearfarError: There is no such frame.
        """
        if self._reading is None or number < self._number:
            self._reading, self._number = self.frames(), -1
        while self._number < number:
            frame = next(self._reading, None)
            if frame is None:
                raise NearfarError(f"{self.path} has {self._number + 1} frames, none at {number}.")
            self._last, self._number = frame, self._number + 1
        return self._last

    def _load(self) -> Iterator[Picture]:
        import cv2

        size: tuple[int, int] | None = None
        number = 0
        for file in self._files or []:
            name = printable(file)
            frame = decoded(file, cv2.IMREAD_COLOR)
            if frame is None:
                self.skipped[name] = f"{name} cannot be read as a picture."
                continue
            if size not in (None, frame.shape[:2]):
                self.skipped[name] = f"{name} is {frame.shape[:2]}, the first frame {size}."
                continue
            size = frame.shape[:2]
            self._numbers[file.stem] = number
            number += 1
            yield np.ascontiguousarray(frame[..., ::-1])

    def _decode(self) -> Iterator[Picture]:
        import av

        try:
            with av.open(str(self.path)) as container:
                if not container.streams.video:
                    raise NearfarError(f"{self.path} has no pictures.")
                stream = container.streams.video[0]
                self.rate = float(stream.average_rate or 25)
                yield from self._packets(container, stream)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise NearfarError(f"{self.path} cannot be read as a video: {error}") from error

    def _packets(self, container: Any, stream: Any) -> Iterator[Picture]:
        """Frames as far as they can be decoded: a damaged end is cut and named."""
        import av

        number = 0
        try:
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24")
                number += 1
        except av.FFmpegError as error:
            if not number:
                raise
            name = printable(self.path)
            self.skipped[name] = f"{name} breaks off after {number} frames: {error}"


def find_videos(path: str | Path, size: int | None = None) -> tuple[list[Video], dict[str, str]]:
    """Every video and every folder of frames below a path, links followed.

    Args:
        path: A video, a folder of frames, or a folder of either; a folder named masks or
            Annotations is passed over.
        size: See `Video`.

    Returns:
        Videos by name, and what could not be read, each with the reason.

    Raises:
        NearfarError: Nothing is there, or none of it can be read.
    """
    root = Path(path)
    if not root.exists():
        raise NearfarError(f"path={str(path)!r}: there is no such video and no such folder.")
    found: list[Path] = [root] if root.is_file() else []
    videos: list[Video] = []
    skipped: dict[str, str] = {}
    for folder, files in folders(root, skipped, _BESIDE) if root.is_dir() else ():
        found += [file for file in files if file.suffix.lower() in VIDEOS]
        if sum(file.suffix.lower() in PICTURES for file in files) > 1:
            found.append(folder)
    for one in sorted(found):
        try:
            inside = Path(one.relative_to(root) if one != root else one.name)
            video = Video(one, printable(inside.with_suffix("")), size)
        except NearfarError as error:
            skipped[printable(one)] = printable(str(error))
        else:
            videos.append(video)
    if not videos:
        why = f" The first: {next(iter(skipped.values()))}" if skipped else ""
        raise NearfarError(
            f"path={str(path)!r}: no video ({', '.join(sorted(VIDEOS))}) and no folder of frames "
            f"that can be read.{why}"
        )
    return videos, skipped


def scaled(frame: Picture, size: int | None) -> Picture:
    """The shorter side scaled down to ``size``; smaller frames stay as they are."""
    import cv2

    height, width = frame.shape[:2]
    if size is None or min(height, width) <= size:
        return frame
    factor = size / min(height, width)
    new = (round(width * factor), round(height * factor))
    return np.asarray(cv2.resize(frame, new, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def decoded(file: Path, flags: int) -> NDArray[Any] | None:
    """The pixels of a file, by OpenCV, or None; its own ``imread`` dies of names of odd bytes."""
    import cv2

    try:
        raw = np.fromfile(file, np.uint8)
    except OSError:
        return None
    pixels: NDArray[Any] | None = cv2.imdecode(raw, flags) if len(raw) else None
    return pixels


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)
