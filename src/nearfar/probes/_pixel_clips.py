"""What a probe of pixels asks of a clip, whoever reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nearfar.probes._scores import Embed, Vectors

Picture = NDArray[np.uint8]
# Two pictures to (H, W, 2) displacements in pixels.
Flow = Callable[[Picture, Picture], NDArray[np.float32]]


class Pixels(Protocol):
    """Places of one picture, as so many inputs of an encoder."""

    shape: tuple[int, int]

    def __len__(self) -> int: ...


class Clip(Protocol):
    """Frames whose places can be embedded.

    Attributes:
        name: What a person calls it.
        shape: (height, width) of a frame in pixels.
    """

    name: str
    shape: tuple[int, int]

    def __len__(self) -> int: ...

    def picture(self, number: int) -> Picture:
        """(H, W, 3) uint8."""
        ...

    def grid(self, number: int, step: float) -> Pixels:
        """Places of a frame, one every ``step`` pixels, from its upper left one."""
        ...

    def spots(self, number: int, points: NDArray[np.float32]) -> Pixels:
        """Certain places of a frame: (N, 2) x and y."""
        ...


def embedded(embed: Embed, pixels: Any) -> Vectors:
    """Unit vectors of places: (rows, columns, D) for a grid, (1, N, D) for single ones."""
    given: Sequence[Any] = pixels
    vectors = embed(given)
    length = np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)
    return np.asarray((vectors / length).reshape(*pixels.shape, -1), np.float32)
