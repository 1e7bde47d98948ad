"""Clocks, what is left out, and what the embedding is judged by: of the recipe audio_image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.audio_image import (
    Clocks,
    SenseReader,
    Stream,
    TimePairs,
    align,
    believed,
    common_labels,
    is_sound,
    numbers,
    right_times,
)
from nearfar.probes import CrossModal, Probe, SharedDirections, Vectors

# At most so many of either side are judged.
_JUDGED = 1000


def clocks_of(
    heard: Stream,
    seen: Stream,
    clock: str,
    reach: float,
    drift: float,
    jitter: float,
    hold_out: float,
) -> Clocks:
    """Clocks from what training may see.

    Args:
        heard: All clips.
        seen: All pictures.
        clock: ``estimate`` or ``trust``.
        reach: Largest offset.
        drift: Largest drift.
        jitter: Of clocks that are trusted.
        hold_out: Share of the record that nothing is learned from.
    """
    if clock == "trust":
        return believed(heard.moments, seen.moments, jitter)
    end = _end(seen, hold_out)
    parts = [
        stream.moments.only(np.flatnonzero(stream.moments.stamps < end)) for stream in (heard, seen)
    ]
    return align(parts[0], parts[1], reach=reach, drift=drift)


def split_in_time(
    heard: Stream, seen: Stream, clocks: Clocks, hold_out: float
) -> tuple[tuple[Stream, Stream], tuple[Stream, Stream]]:
    """(before, after) of the clips and of the pictures, by the clocks.

    Raises:
        NearfarError: A share that leaves nothing to learn from.
    """
    if not 0 <= hold_out < 0.9:
        raise NearfarError(f"hold_out={hold_out}: wanted a share of the record, 0 <= share < 0.9.")
    end, out = _end(seen, hold_out), []
    for stream, side in ((heard, clocks.sounds), (seen, clocks.pictures)):
        late = right_times(stream.moments, side)[0] >= end
        if (~late).sum() < 2:
            raise NearfarError(
                f"hold_out={hold_out} leaves {(~late).sum()} items before its last part begins; "
                "wanted two or more. Lower it, or check that sounds and pictures are of one time."
            )
        out.append((stream.only(np.flatnonzero(~late)), stream.only(np.flatnonzero(late))))
    return out[0], out[1]


def probe_of(pairs: TimePairs, heard: Stream, seen: Stream, reader: SenseReader) -> Probe | None:
    """Retrieval in what was left out; canonical correlation of the training's pairs beside it.

    Args:
        pairs: What is trained on.
        heard: Clips that were left out.
        seen: Pictures that were left out.
        reader: Reads them.
    """
    classes = set(common_labels(heard.moments, seen.moments))
    labelled = len(classes) > 1
    ears, eyes = (_chosen(stream, classes if labelled else None) for stream in (heard, seen))
    if len(ears.moments.names) < 2 or len(eyes.moments.names) < 2:
        return None

    def near() -> NDArray[np.bool_]:
        lag = (
            right_times(ears.moments, pairs.clocks.sounds)[0][:, None]
            - right_times(eyes.moments, pairs.clocks.pictures)[0]
        )
        return np.abs(lag) <= pairs.widest

    def note() -> str:
        return ". ".join(pairs.clocks.lines()).removesuffix(".")

    return CrossModal(
        sounds=ears.moments.items,
        pictures=eyes.moments.items,
        sound_labels=ears.moments.labels if labelled else None,
        picture_labels=eyes.moments.labels if labelled else None,
        near=near,
        baselines={"CCA": _Linear(pairs, reader)},
        note=note,
    )


class _Linear:
    """`SharedDirections` of the training's nearest pairs, fitted when it is first asked."""

    def __init__(self, pairs: TimePairs, reader: SenseReader) -> None:
        self._pairs, self._reader = pairs, reader
        self._fitted: SharedDirections | None = None

    def __call__(self, inputs: Sequence[Any]) -> Vectors:
        if self._fitted is None:
            sound, picture = self._pairs.nearest()
            self._fitted = SharedDirections(
                lambda some: numbers(self._reader, some),
                list(self._pairs.waves[sound].numpy()),
                list(self._pairs.pixels[picture].permute(0, 2, 3, 1).numpy()),
                is_sound,
            )
        return self._fitted(inputs)


def _end(seen: Stream, hold_out: float) -> float:
    stamps = np.sort(seen.moments.stamps)
    kept = round((1 - hold_out) * len(stamps))
    return float(stamps[kept]) if kept < len(stamps) else np.inf


def _chosen(stream: Stream, classes: set[str] | None) -> Stream:
    rows = [
        row
        for row, label in enumerate(stream.moments.labels)
        if classes is None or label in classes
    ]
    step = -(-len(rows) // _JUDGED) or 1
    return stream.only(np.array(rows[::step], int))
