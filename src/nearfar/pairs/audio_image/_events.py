"""Where something is to be heard in a long recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearfar.errors import NearfarError
from nearfar.pairs.audio_image._sounds import for_soundfile

# Seconds of a frame, and how far above the noise an event stands, in its deviations.
FRAME, LOUD = 0.1, 4.0


def events(path: str | Path, seconds: float) -> list[tuple[float, float]]:
    """Clips around the loud moments of a recording, and when each sounds loudest.

    The level of every tenth of a second, of the differences of neighbouring samples (which favours
    calls over wind), must stand `LOUD` robust deviations above the recording's median; of
    moments closer than a clip's length the loudest counts. The file is read in blocks.

    Args:
        path: A sound file.
        seconds: Length of a clip.

    Returns:
        (start of the clip, loudest moment) in seconds, in order; empty where nothing stands out.

    Raises:
        NearfarError: It cannot be read; the message names it.
    """
    import soundfile

    levels = []
    try:
        with soundfile.SoundFile(for_soundfile(path)) as file:
            length, frame = file.frames / file.samplerate, round(FRAME * file.samplerate)
            for block in file.blocks(frame * 600, dtype="float32", always_2d=True):
                change = np.diff(block.mean(1), prepend=block[:1].mean())
                change = change[: len(change) // frame * frame].reshape(-1, frame)
                levels.append(np.log10((change**2).mean(1) + 1e-12))
    except (OSError, RuntimeError) as error:
        raise NearfarError(f"{path} cannot be read as a sound: {error}") from error
    level = np.concatenate(levels) if levels else np.zeros(0)
    if not len(level):
        return []
    middle = np.median(level)
    spread = 1.4826 * np.median(np.abs(level - middle))
    taken: list[int] = []
    blocked = np.zeros(len(level), bool)
    near = round(seconds / FRAME)
    for place in np.argsort(-level, kind="stable"):
        if level[place] < middle + LOUD * max(spread, 0.02):
            break
        if not blocked[place]:
            taken.append(int(place))
            blocked[max(0, place - near + 1) : place + near] = True
    return [
        (min(max(place * FRAME - seconds / 2, 0.0), max(length - seconds, 0.0)), place * FRAME)
        for place in sorted(taken)
    ]
