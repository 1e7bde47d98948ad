"""A turned window, sampled straight from the full map: the corners hold real material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.pairs.micrographs._map import Map


@dataclass(frozen=True)
class Views:
    """Where N windows lie and how they are turned; every field is (N,).

    Attributes:
        map: Number of the map.
        y: Centre, in pixels from the centre of the first one.
        x: The same along a row.
        half: Half of the window's side, in the map's pixels.
        angle: In degrees, from the map's x axis towards its y axis.
        grain: The grain at the centre, for maps that are looked at as shapes.
        mirror: 1, or -1 for the window's mirror image.
    """

    map: Tensor
    y: Tensor
    x: Tensor
    half: Tensor
    angle: Tensor
    grain: Tensor
    mirror: Tensor


class Atlas:
    """Maps of any sizes in one buffer, so that one gather samples windows from all of them.

    `torch.nn.functional.grid_sample` would want a call for every map and float pixels; it is the
    test's oracle here. A window of a shape reads labels, which must not be interpolated: a pixel
    counts by its share of corners that belong to the window's grain.

    Args:
        maps: With equal numbers of channels.
        size: Side of the samples.
    """

    def __init__(self, maps: Sequence[Map], size: int) -> None:
        self.size = size
        self._pixels = torch.cat([one.pixels.flatten(1) for one in maps], 1)
        sides = torch.tensor([one.side for one in maps])
        self._height, self._width = sides.unbind(1)
        self._begin = (sides.prod(1)).cumsum(0) - sides.prod(1)

    def to(self, device: torch.device) -> Atlas:
        """Move the maps; the same object."""
        for name in ("_pixels", "_height", "_width", "_begin"):
            setattr(self, name, getattr(self, name).to(device))
        return self

    def windows(self, views: Views) -> Tensor:
        """Bilinear samples on turned grids, seen through the inscribed disk.

        Args:
            views: Of N windows, on the atlas's device.

        Returns:
            (N, C, size, size) float32; zero outside the disk, the same one in every view.
        """
        line = torch.linspace(-1, 1, self.size, device=views.y.device)
        down, right = torch.meshgrid(line, line, indexing="ij")
        turn = torch.deg2rad(views.angle)
        cos, sin, half, mirror = (
            part[:, None, None] for part in (turn.cos(), turn.sin(), views.half, views.mirror)
        )
        y = views.y[:, None, None] + half * (cos * down + sin * right * mirror)
        x = views.x[:, None, None] + half * (cos * right * mirror - sin * down)
        return self._bilinear(views, y, x) * disk(self.size, y.device)

    def _bilinear(self, views: Views, y: Tensor, x: Tensor) -> Tensor:
        height, width, begin = (
            part[views.map][:, None, None] for part in (self._height, self._width, self._begin)
        )
        y, x = y.minimum(height - 1).clamp(min=0), x.minimum(width - 1).clamp(min=0)
        top, left = y.floor().minimum(height - 2), x.floor().minimum(width - 2)
        corner = begin + top.long() * width + left.long()
        y, x = y - top, x - left
        out = torch.zeros((), device=y.device)
        for step, share in (
            (torch.zeros_like(width), (1 - y) * (1 - x)),
            (torch.ones_like(width), (1 - y) * x),
            (width, y * (1 - x)),
            (width + 1, y * x),
        ):
            values = self._pixels[:, corner + step]
            if not values.is_floating_point():
                values = values == views.grain[:, None, None]
            out = out + values * share
        return out.transpose(0, 1)


def disk(size: int, device: torch.device | None = None) -> Tensor:
    """(size, size), 1 inside the inscribed circle and 0 outside: no angle shows in its outline."""
    line = torch.linspace(-1, 1, size, device=device)
    return (line[:, None] ** 2 + line**2 <= 1).float()
