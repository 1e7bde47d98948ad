"""Turned, scaled, mirrored and recoloured windows of a frame, with every pixel's place known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.pairs.pixels._flow import Points

# Left, top, right and bottom in pixels.
Box = tuple[int, int, int, int]
NOTHING: Box = (0, 0, 0, 0)


@dataclass(frozen=True)
class Window:
    """An affine view of a frame: view pixel u shows the frame at ``turn (u - middle) + centre``.

    Attributes:
        turn: (2, 2) rotation, scale and mirror.
        centre: (2,) x and y in the frame.
        side: Of the view in pixels.
        cover: The part of the view that something else hides.
    """

    turn: NDArray[np.float32]
    centre: NDArray[np.float32]
    side: int
    cover: Box = NOTHING

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        centre: Points,
        side: int,
        *,
        rotate: float,
        scale: float,
        mirror: bool,
        hide: float,
    ) -> Window:
        """A random view around a place, which lies up to a quarter of the side off its middle.

        Args:
            rng: Where randomness comes from.
            centre: (2,) x and y of the place.
            side: Of the view.
            rotate: Largest angle in degrees, either way.
            scale: Largest change of the logarithm of the size, either way.
            mirror: Left becomes right.
            hide: Chance that a part of the view is hidden, a third to two thirds of it each way.
        """
        angle = np.radians(rng.uniform(-rotate, rotate))
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.exp(rng.uniform(-scale, scale)) * np.array([[cos, -sin], [sin, cos]])
        turn[:, 0] *= -1 if mirror else 1
        off = turn @ rng.uniform(-side / 4, side / 4, 2)
        cover = NOTHING
        if rng.random() < hide:
            wide, high = (int(x) for x in rng.uniform(side / 3, side * 2 / 3, 2))
            left, top = int(rng.integers(side - wide + 1)), int(rng.integers(side - high + 1))
            cover = (left, top, left + wide, top + high)
        return cls(turn.astype(np.float32), (centre + off).astype(np.float32), side, cover)

    def to_frame(self, points: Points) -> Points:
        """(N, 2) of the view to (N, 2) of the frame."""
        return np.asarray((points - (self.side - 1) / 2) @ self.turn.T + self.centre, np.float32)

    def to_view(self, points: Points) -> Points:
        """(N, 2) of the frame to (N, 2) of the view: the inverse of `to_frame`."""
        inverse = np.linalg.inv(self.turn)
        return np.asarray((points - self.centre) @ inverse.T + (self.side - 1) / 2, np.float32)

    def shows(self, points: Points, margin: float = 2.0) -> NDArray[np.bool_]:
        """(N,) whether points of the frame are seen, at least ``margin`` from the view's edge."""
        seen = self.to_view(points)
        left, top, right, bottom = self.cover
        hidden = ((seen >= (left, top)) & (seen < (right, bottom))).all(1)
        return np.asarray(((seen >= margin) & (seen <= self.side - 1 - margin)).all(1) & ~hidden)

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(side, side, 3) uint8; beyond the frame's edge its mirror image."""
        import cv2

        origin = self.to_frame(np.zeros((1, 2), np.float32))[0]
        matrix = np.hstack([self.turn, origin[:, None]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        view = cv2.warpAffine(
            frame, matrix, (self.side, self.side), flags=flags, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(view, dtype=np.uint8)


@dataclass(frozen=True)
class View:
    """A window of a frame, and its places in the frame."""

    video: int
    frame: NDArray[np.uint8]
    window: Window
    points: Points


def cut(views: Sequence[View]) -> NDArray[np.uint8]:
    """(N, side, side, 3) windows; what one has covered shows the one before it."""
    whole = np.stack([view.window.cut(view.frame) for view in views])
    out = whole.copy()
    for row, view in enumerate(views):
        left, top, right, bottom = view.window.cover
        out[row, top:bottom, left:right] = whole[row - 1, top:bottom, left:right]
    return out


def recolour(views: Tensor, strength: float) -> Tensor:
    """Random brightness, contrast, saturation and hue, each picture its own; some turn grey.

    Hue, saturation and the order of the channels are one linear map of the colour: a turn around
    the grey axis, and a stretch away from it.

    Args:
        views: (B, 3, H, W) floats in 0..1.
        strength: Largest relative change; a quarter of a turn of hue at 1.

    Returns:
        The same shape, in 0..1.
    """
    count = len(views)
    bright, contrast, saturation, hue = (2 * torch.rand(4, count, 1, 1) - 1) * strength
    grey = torch.rand(count, 1, 1) < 0.5 * strength
    axis = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    angle = hue * torch.pi / 2
    turned = (torch.eye(3) - axis) * angle.cos() + cross * angle.sin()
    colour = axis + turned * torch.where(grey, 0.0, 1 + saturation)
    mean = views.mean((1, 2, 3), keepdim=True)
    gain = (1 + contrast)[..., None].to(views.device)
    mixed = torch.einsum("bij,bjhw->bihw", colour.to(views.device), views - mean)
    shift = (bright / 2)[..., None].to(views.device)
    out: Tensor = (mixed * gain + mean + shift).clamp(0, 1)
    return out
