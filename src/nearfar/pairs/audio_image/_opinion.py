"""What a model thinks of a clip and a picture: how much likelier together than by chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearfar.probes import Vectors

_SAMPLE, _CHUNK = 2000, 2**18
# No pair is thought less likely than this, whatever rounding says.
_LEAST = 0.02


class Opinion:
    """The logarithm of p(sound, picture) / p(sound) p(picture), by vectors that InfoNCE trained.

    The optimal critic of InfoNCE is that ratio up to a term of each query (van den Oord et al.
    2018, arXiv 1807.03748, section 2.2); the symmetric loss leaves one of each side, and half of
    each side's mean exponential is taken off for it.

    Args:
        sounds: (N, D) unit vectors.
        pictures: (M, D) unit vectors.
        temperature: By which the loss divided cosines.
    """

    def __init__(self, sounds: Vectors, pictures: Vectors, temperature: float) -> None:
        self._sounds, self._pictures, self._scale = sounds, pictures, 1 / temperature
        self._row = self._level(sounds, pictures)
        self._column = self._level(pictures, sounds)

    def __call__(
        self, i: NDArray[np.int64], j: NDArray[np.int64], sure: float = 1.0
    ) -> NDArray[np.float64]:
        """(P,) of rows ``i`` of the sounds with rows ``j`` of the pictures.

        Args:
            i: Rows of the sounds.
            j: Rows of the pictures.
            sure: Share ``a`` of the training's pairs that were right. The others were random, so
                the model learned the ratio a r + (1 - a) in place of r, and r is what is returned.
        """
        cosine = np.empty(len(i))
        for start in range(0, len(i), _CHUNK):
            part = slice(start, start + _CHUNK)
            cosine[part] = (self._sounds[i[part]] * self._pictures[j[part]]).sum(1)
        seen = cosine * self._scale - (self._row[i] + self._column[j]) / 2
        ratio = (np.exp(seen) - (1 - sure)) / sure
        out: NDArray[np.float64] = np.log(np.maximum(ratio, _LEAST))
        return out

    def _level(self, own: Vectors, others: Vectors) -> NDArray[np.float64]:
        some = others[:: -(-len(others) // _SAMPLE)]
        levels = []
        for start in range(0, len(own), 1000):
            logits = (own[start : start + 1000] @ some.T).astype(np.float64) * self._scale
            top = logits.max(1, keepdims=True)
            levels.append(np.log(np.exp(logits - top).mean(1)) + top[:, 0])
        return np.concatenate(levels)
