"""All that recorders heard and cameras saw, in memory, with its times."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._decode import quietly, read_picture
from nearfar.pairs._walk import printable
from nearfar.pairs.audio_image._find import PICTURES, Moments, clips_of, files_below, things, timed
from nearfar.pairs.audio_image._reader import SenseReader
from nearfar.pairs.audio_image._sounds import SOUNDS, facts, read_clip
from nearfar.pairs.audio_image._stamps import zone_of
from nearfar.pairs.audio_image._tables import Times
from nearfar.progress import tracked

# More than this is seldom worth its price, and many recorders have no more.
_HIGHEST = 16_000
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Stream:
    """Clips or pictures.

    Attributes:
        moments: What they are and when.
        data: (N, S) int16 waveforms, or (N, 3, H, W) uint8 pictures.
    """

    moments: Moments
    data: Tensor

    def only(self, rows: Rows) -> Stream:
        """Some of them."""
        return Stream(self.moments.only(rows), self.data[torch.from_numpy(rows)])


def lowest_rate(path: str) -> int:
    """The lowest sample rate among the recordings, at most 16,000.

    What a file of a lower rate lacks of the high notes would tell it from the others.
    """
    rates = [_HIGHEST]
    for file in files_below(path, SOUNDS, "audio", "sounds")[0]:
        try:
            rates.append(facts(file).rate)
        except NearfarError:
            continue
    return min(rates)


def streams(
    audio: str,
    images: str,
    times: str | None,
    reader: SenseReader,
    zones: tuple[str, str] = ("UTC", "UTC"),
    pattern: str | None = None,
) -> tuple[Stream, Stream]:
    """The clips of a folder of recordings, long ones cut at their events, and all pictures.

    Args:
        audio: Folder of recordings.
        images: Folder of pictures.
        times: Tables of stamps; see `Times`.
        reader: Its rate, seconds, size and folders count.
        zones: Of the recorders' and of the cameras' stamps that name none.
        pattern: How names write a stamp; see `parse`.

    Raises:
        NearfarError: No sound, or no picture, can be read or has a time.
    """
    ears, eyes = zone_of(zones[0], "audio_zone"), zone_of(zones[1], "image_zone")
    return (
        _sounds(audio, reader, Times(times, ears), ears, pattern),
        _pictures(images, reader, Times(times, eyes), eyes, pattern),
    )


def _sounds(
    path: str, reader: SenseReader, times: Times, zone: tzinfo, pattern: str | None
) -> Stream:
    root = Path(path)
    files, skipped = files_below(root, SOUNDS, "audio", "sounds")
    found = things(root, files, reader.levels, clips_of(reader.seconds))
    found.skipped.update(skipped)
    moments = timed(found, times, zone, pattern, exif=False, fallback="recorder")

    def load(item: Any) -> Tensor:
        wave = torch.from_numpy(read_clip(item, reader.rate, reader.seconds))
        return (wave.clamp(-1, 1) * (2**15 - 1)).round().to(torch.int16)

    return _loaded(moments, load, "audio", "Reading sounds")


def _pictures(
    path: str, reader: SenseReader, times: Times, zone: tzinfo, pattern: str | None
) -> Stream:
    root = Path(path)
    files, skipped = files_below(root, PICTURES, "images", "pictures")
    found = things(root, files, reader.levels, lambda file: [str(file)])
    found.skipped.update(skipped)
    moments = timed(found, times, zone, pattern, exif=True, fallback="camera")
    side = reader.settings["size"]
    return _loaded(moments, lambda item: read_picture(item, side), "images", "Reading pictures")


def _loaded(moments: Moments, load: Callable[[Any], Tensor], argument: str, what: str) -> Stream:
    data, kept, skipped = [], [], dict(moments.skipped)

    def safely(item: Any) -> Tensor | str:
        try:
            return load(item)
        except NearfarError as error:
            return printable(str(error))

    with quietly(), ThreadPoolExecutor(4) as workers:
        made = tracked(workers.map(safely, moments.items), what, total=len(moments.items))
        for row, one in enumerate(made):
            if isinstance(one, str):
                skipped[moments.names[row]] = one
            else:
                kept.append(row)
                data.append(one)
    if len(data) < 2:
        raise NearfarError(
            f"{argument}: {len(data)} file(s) with a time can be read; wanted two or more."
            + (f" Skipped: {next(iter(skipped.values()))}" if skipped else "")
        )
    return Stream(replace(moments.only(np.array(kept)), skipped=skipped), torch.stack(data))
