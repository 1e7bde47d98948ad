"""Classical optical flow by OpenCV: where the pixels of one frame are in the next."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError

Method = Literal["dis", "farneback"]
Field = NDArray[np.float32]
Points = NDArray[np.float32]


def flow_between(first: NDArray[np.uint8], second: NDArray[np.uint8], method: Method) -> Field:
    """(H, W, 2) displacements (x, y) in pixels from the first frame to the second.

    Args:
        first: (H, W, 3) uint8.
        second: The same size.
        method: ``dis`` (Kroeger et al. 2016, arXiv 1603.03590, OpenCV's medium preset), or
            ``farneback`` (Farnebäck 2003).

    Raises:
        NearfarError: Another method.
    """
    import cv2

    a, b = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second))
    if method == "dis":
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # type: ignore[attr-defined]
        found = dis.calc(a, b, None)
    elif method == "farneback":
        found = cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 4, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    else:
        raise NearfarError(f"flow={method!r}: wanted dis or farneback.")
    return np.asarray(found, dtype=np.float32)


def sample(field: NDArray[np.generic], points: Points) -> Points:
    """Bilinear values at points; beyond the edge, the edge's.

    Args:
        field: (H, W, C).
        points: (N, 2) x and y, pixel centres at whole numbers.

    Returns:
        (N, C) float32.

    Example:
        >>> sample(np.arange(4.0).reshape(2, 2, 1), np.array([[0.5, 0.5]], np.float32)).item()
        1.5
    """
    height, width = field.shape[:2]
    x, y = points[:, 0].clip(0, width - 1), points[:, 1].clip(0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = field[top, left] * (1 - fx) + field[top, right] * fx
    lower = field[below, left] * (1 - fx) + field[below, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, dtype=np.float32)


def chain(fields: list[Field], points: Points) -> Points:
    """Follow points through flows, one after another."""
    for field in fields:
        points = points + sample(field, points)
    return points


def consistent(
    points: Points, there: Points, back: Points, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether points that went there come back, and stayed within the picture.

    A point is occluded, or its flow is wrong, where going there and back ends more than
    1 + 0.05 |flow| pixels away (after Sundaram et al. 2010, equation 5).

    Args:
        points: (N, 2) in the first frame.
        there: (N, 2) in the other.
        back: (N, 2) where the backward flow brings them from there.
        shape: (height, width).
    """
    height, width = shape
    inside = (there >= 0).all(1) & (there[:, 0] <= width - 1) & (there[:, 1] <= height - 1)
    moved = np.linalg.norm(there - points, axis=1)
    missed = np.linalg.norm(back - points, axis=1)
    return np.asarray(inside & (missed < 1 + 0.05 * moved))


def texture(frame: NDArray[np.uint8], side: int = 9) -> Field:
    """(H, W) deviation of the grey values around each pixel, in 0..255.

    Args:
        frame: (H, W, 3) uint8.
        side: Of the square that is looked at.
    """
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean, square = (cv2.blur(x, (side, side)) for x in (grey, grey**2))
    return np.asarray(np.sqrt((square - mean**2).clip(0)), dtype=np.float32)
