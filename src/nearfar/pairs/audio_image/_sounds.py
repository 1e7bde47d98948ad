"""Sound files to waveforms at one rate, by soundfile and soxr."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError

SOUNDS = frozenset(
    [".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"]
)
Wave = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A stretch of a sound file.

    Attributes:
        file: Its path.
        start: Where it begins, in seconds.
    """

    file: str
    start: float = 0.0


@dataclass(frozen=True)
class Facts:
    """What is known of a file from its header.

    Attributes:
        rate: Samples a second.
        seconds: Its length.
    """

    rate: int
    seconds: float


def for_soundfile(path: str | Path) -> str | bytes:
    """A file's name as soundfile takes it: as bytes, of which it cannot make all itself.

    On Windows names are Unicode, and bytes would be read in the letters of a country.
    """
    return str(path) if sys.platform == "win32" else os.fsencode(path)


def facts(path: str | Path) -> Facts:
    """A sound file's header.

    Raises:
        NearfarError: It is no sound file; the message names it.
    """
    import soundfile

    try:
        info = soundfile.info(for_soundfile(path))
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if not info.frames:
        raise NearfarError(f"{path} cannot be read as a sound: it is empty.")
    return Facts(int(info.samplerate), info.frames / info.samplerate)


def read_clip(clip: Clip | str | Path, rate: int, seconds: float) -> Wave:
    """(rate * seconds,) samples: mono, resampled, a shorter sound repeated until it fills.

    Repeated and not padded: silence at the end would tell how long the sound was.

    Args:
        clip: A `Clip`, a path, or ``path@seconds``.
        rate: Samples a second.
        seconds: Length.

    Raises:
        NearfarError: It cannot be read; the message names it.
    """
    import soundfile

    clip = clip if isinstance(clip, Clip) else as_clip(str(clip))
    try:
        with soundfile.SoundFile(for_soundfile(clip.file)) as file:
            file.seek(min(round(clip.start * file.samplerate), max(file.frames - 1, 0)))
            raw = file.read(round(seconds * file.samplerate), dtype="float32", always_2d=True)
            native = file.samplerate
    except (OSError, RuntimeError) as error:
        raise _unreadable(clip.file, error) from error
    return fixed(raw, native, rate, round(rate * seconds), clip.file)


def fixed(samples: Any, native: int, rate: int, length: int, name: str = "an array") -> Wave:
    """Mono, at another rate, repeated or cut to a length.

    Raises:
        NearfarError: No samples, or some that are no numbers.
    """
    wave = np.asarray(samples, np.float32)
    wave = wave.mean(1) if wave.ndim == 2 else wave
    if not len(wave) or not np.isfinite(wave).all():
        what = "it holds samples that are no numbers" if len(wave) else "it is empty"
        raise NearfarError(f"{name} cannot be read as a sound: {what}.")
    if native != rate:
        import soxr

        wave = soxr.resample(wave, native, rate, "HQ")
    if len(wave) < length:
        wave = np.tile(wave, -(-length // max(len(wave), 1)))
    out: Wave = np.ascontiguousarray(wave[:length], np.float32)
    return out


def as_clip(text: str) -> Clip:
    """``path`` or ``path@12.5``, as `name_of` writes it."""
    path, at, start = text.rpartition("@")
    if at and not Path(text).is_file():
        with suppress(ValueError):
            return Clip(path, float(start))
    return Clip(text)


def _unreadable(path: str | Path, error: Exception) -> NearfarError:
    reason = str(error).rstrip(".") or type(error).__name__
    return NearfarError(f"{path} cannot be read as a sound: {reason}.")
