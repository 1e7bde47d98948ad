"""Which pixels of one frame are seen again some frames on, and where."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.pairs.pixels._flow import Method, Points, chain, consistent, sample, texture
from nearfar.pairs.pixels._store import Stretch

BRIGHTNESS = 25.0  # Grey values of 255 that a 5 x 5 mean may change.
TEXTURE = 3.0  # Deviation of grey values of 255 around a pixel that is told from its neighbours.


@dataclass(frozen=True)
class Correspondence:
    """N points of one frame in another.

    Attributes:
        there: (N, 2) x and y in the other frame.
        returns: (N,) the backward flow brings it back, and it stays in the picture.
        bright: (N,) its surroundings are as bright as before.
        textured: (N,) its surroundings tell it from its neighbours.
    """

    there: Points
    returns: NDArray[np.bool_]
    bright: NDArray[np.bool_]
    textured: NDArray[np.bool_]

    @property
    def good(self) -> NDArray[np.bool_]:
        """(N,) passes all checks."""
        return self.returns & self.bright & self.textured


def correspond(
    stretch: Stretch, begin: int, end: int, points: Points, method: Method
) -> Correspondence:
    """Chain the flow from frame ``begin`` to frame ``end``, and back again.

    Args:
        stretch: Holds both frames.
        begin: Number of the frame that the points lie in.
        end: Number of the other, later or earlier, or the same.
        points: (N, 2) x and y.
        method: Of optical flow.
    """
    forth, back = range(begin, end), range(end - 1, begin - 1, -1)
    if end < begin:
        forth, back = range(begin - 1, end - 1, -1), range(end, begin)
    later = end > begin
    there = chain([stretch.flow(n, method, back=not later) for n in forth], points)
    again = chain([stretch.flow(n, method, back=later) for n in back], there)
    first, last = stretch.frames[begin], stretch.frames[end]
    change = _brightness(first, points) - _brightness(last, there)
    return Correspondence(
        there=there,
        returns=consistent(points, there, again, first.shape[:2]),
        bright=np.abs(change) < BRIGHTNESS,
        textured=sample(texture(first)[..., None], points)[:, 0] > TEXTURE,
    )


def _brightness(frame: NDArray[np.uint8], points: Points) -> NDArray[np.float32]:
    import cv2

    grey = cv2.blur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (5, 5))
    return sample(grey[..., None], points)[:, 0]
