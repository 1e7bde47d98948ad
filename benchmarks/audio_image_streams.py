"""Real signals with simulated clocks: two streams of events for benchmarks/audio_image.py.

Every event is a moment at which one animal is heard and seen: its photo and its recording are real
and are drawn from the event's class, its time and both clocks' errors are simulated. Recordings and
photos for training, for choosing settings (validation) and for testing are disjoint.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from nearfar.pairs.audio_image import Clip, Moments, Stream
from nearfar.pairs.audio_image._sounds import fixed

RATE, SECONDS = 8000, 4.0
CLASSES = ("bird", "cat", "cow", "dog", "frog", "lion", "monkey")
BEGIN = 1.7e9


@dataclass(frozen=True)
class Signals:
    """Recordings and photos.

    Attributes:
        waves: (N, S) int16.
        sound_labels: (N,) classes.
        sound_split: (N,) train, validation or test.
        pixels: (M, 3, 32, 32) uint8.
        picture_labels: (M,) classes.
        picture_split: (M,) likewise.
    """

    waves: Tensor
    sound_labels: np.ndarray
    sound_split: np.ndarray
    pixels: Tensor
    picture_labels: np.ndarray
    picture_split: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What is wrong with the recorder's clock; the camera's is right.

    Attributes:
        offset: Seconds that it is ahead in the middle of the record.
        drift: Parts per million.
        jitter: Standard deviation of a stamp in seconds.
        both: Share of the events that each device catches.
    """

    offset: float = 0.0
    drift: float = 0.0
    jitter: float = 0.0
    both: float = 1.0


def signals(data: Path) -> Signals:
    """Seven classes that have both sounds and photos.

    Sounds: of each class 28 % are for testing, and 20 % of the rest for validation, by a fixed
    shuffle of the files. Photos: the data's own split, 20 % of its training photos for validation.
    """
    with (data / "animal_sounds" / "meta.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["class"] in CLASSES]
    waves = []
    for row in rows:
        samples, rate = soundfile.read(data / "animal_sounds" / row["file"], dtype="float32")
        wave = fixed(samples, rate, RATE, round(RATE * SECONDS), row["file"])
        waves.append((wave.clip(-1, 1) * 32767).round().astype(np.int16))
    with np.load(data / "animal_images" / "animal_images_32.npz") as images:
        pixels, seen, given = images["images"], images["labels"], images["split"]
    heard = np.array([row["class"] for row in rows])
    sound_split = _split(heard, np.full(len(heard), "train"), 0.28, "test", seed=1)
    return Signals(
        torch.from_numpy(np.stack(waves)),
        heard,
        _split(heard, sound_split, 0.2, "validation", seed=2),
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        seen,
        _split(seen, given.astype("<U10"), 0.2, "validation", seed=3),
    )


def _split(labels: np.ndarray, split: np.ndarray, share: float, name: str, seed: int) -> np.ndarray:
    rng, out = np.random.default_rng(seed), split.astype("<U10")
    for label in CLASSES:
        rows = rng.permutation(np.flatnonzero((labels == label) & (split == "train")))
        out[rows[: round(share * len(rows))]] = name
    return out


def simulate(
    data: Signals,
    errors: Errors,
    *,
    events: int = 3000,
    gap: float = 60.0,
    seed: int = 0,
    parts: tuple[str, ...] = ("train",),
    times: np.ndarray | None = None,
) -> tuple[Stream, Stream, np.ndarray, np.ndarray]:
    """Events with exponential gaps (or at given times), one class each, evenly.

    Args:
        data: Real recordings and photos.
        errors: Of the recorder's clock.
        events: How many.
        gap: Mean seconds between two.
        seed: Of everything drawn.
        parts: Splits that recordings and photos are drawn from.
        times: Seconds of the events, in place of exponential gaps.

    Returns:
        The recorder's stream, the camera's stream, and the number of the event behind each of
        their items.
    """
    rng = np.random.default_rng(seed)
    when = np.cumsum(rng.exponential(gap, events)) if times is None else np.sort(times)
    label = rng.integers(len(CLASSES), size=len(when))
    caught = rng.random((2, len(when))) < errors.both
    ears, eyes = (np.flatnonzero(side) for side in caught)
    middle = when[-1] / 2
    stamps = when[ears] + errors.offset + 1e-6 * errors.drift * (when[ears] - middle)
    stamps = np.round(stamps + errors.jitter * rng.normal(size=len(ears)))
    sound_pool, picture_pool = (
        [np.flatnonzero((labels == name) & np.isin(split, parts)) for name in CLASSES]
        for labels, split in (
            (data.sound_labels, data.sound_split),
            (data.picture_labels, data.picture_split),
        )
    )
    sound = np.array([rng.choice(sound_pool[label[event]]) for event in ears])
    picture = np.array([rng.choice(picture_pool[label[event]]) for event in eyes])
    return (
        _stream("recorder", BEGIN + stamps, data.waves[sound], data.sound_labels[sound]),
        _stream(
            "camera",
            BEGIN + np.round(when[eyes]),
            data.pixels[picture],
            data.picture_labels[picture],
        ),
        ears,
        eyes,
    )


def _stream(device: str, stamps: np.ndarray, values: Tensor, labels: np.ndarray) -> Stream:
    names = [f"{device}{row}" for row in range(len(stamps))]
    count = len(names)
    items = [Clip(name) for name in names]
    moments = Moments(
        names, items, stamps, [device] * count, [""] * count, [str(x) for x in labels], {}
    )
    return Stream(moments, values)
