"""Whether the headers of recordings tell their labels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from nearfar.pairs.audio_image._find import Moments
from nearfar.pairs.audio_image._sounds import facts
from nearfar.probes import Shortcuts, shortcuts


def header_shortcuts(sounds: Moments, waves: Tensor) -> Shortcuts | None:
    """Predict labels from the files' sample rate, length and loudness.

    Args:
        sounds: N clips; a recording that is there several times counts once, or it would vote for
            itself.
        waves: (N, S) int16.

    Returns:
        None where there are too few labels.
    """
    once = list({wave.numpy().tobytes(): row for row, wave in enumerate(waves)}.values())
    headers = [facts(sounds.items[row].file) for row in once]
    level = [float(waves[row].double().square().mean()) for row in once]
    return shortcuts(
        {
            "sample rate": np.array([header.rate for header in headers], float),
            "length": np.array([header.seconds for header in headers]),
            "loudness": np.log10(np.array(level) + 1e-3),
        },
        [sounds.labels[row] for row in once],
    )
