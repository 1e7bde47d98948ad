"""Two turned views of one place are a pair."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._pairs import Batch
from nearfar.pairs._reader import Reader
from nearfar.pairs.micrographs._map import Map
from nearfar.pairs.micrographs._places import Places
from nearfar.pairs.micrographs._sample import Atlas, Views, disk
from nearfar.pairs.micrographs._windows import identities


class TurnedPairs:
    """Windows on full maps, and the random turns that make pairs of them.

    Both views of a pair are resampled at angles uniform in [0, 360), never on the map's own grid:
    an encoder shown one sharp and one interpolated view learns blur instead of structure.

    Args:
        places: N >= 2 windows and the full maps that they lie in.
        reader: Prepares views for the encoder.
        size: Side of the views.
        shift: A view's centre is off by up to this share of the side, either way.
        noise: Standard deviation of the noise that each view gets; pixels lie in 0..1.
        wander: Share of the draws that look at another place of the same grain or tile, both
            views alike. A few hundred grains are few; the places in them are many.
        mirror: Half of the views are mirror images.
        scale: Views are magnified by up to this share more or less.

    Raises:
        NearfarError: Fewer than two different windows.
    """

    def __init__(
        self,
        places: Places,
        reader: Reader,
        *,
        size: int,
        shift: float = 0.05,
        noise: float = 0.02,
        wander: float = 0.5,
        mirror: bool = False,
        scale: float = 0.0,
    ) -> None:
        windows, maps, number = places.inputs.items, places.maps, places.number
        self.reader, self._names, self._number = reader, places.inputs.names, number
        self._size, self.shift, self.noise, self.wander = size, shift, noise, wander
        self.mirror, self.scale = mirror, scale
        self.ids = torch.tensor(identities(windows, [maps[which] for which in number.tolist()]))
        different = len(set(self.ids.tolist()))
        if different < 2:
            raise NearfarError(
                f"The data hold {len(windows)} window(s), {different} of them different. Wanted "
                "at least 2: every query needs a negative to be told from. Lower --smallest or "
                "--window, or add micrographs."
            )
        self._atlas = Atlas(maps, size)
        self._place = torch.tensor([(w.y, w.x, w.half) for w in windows])
        self._grain = torch.tensor([w.grain for w in windows])
        self._side = torch.tensor([one.side for one in maps])[number]
        self._pixels, self._begin, self._count = _members(maps, number, self._grain)
        content = hashlib.blake2b(repr((windows, self._names)).encode(), digest_size=8)
        content.update("".join(one.key for one in maps).encode())
        self.fingerprint = content.hexdigest()

    def __len__(self) -> int:
        return len(self._names)

    def names(self, rows: Tensor) -> list[str]:
        return [self._names[row] for row in rows.tolist()]

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two turned views of each window, sampled on ``device``."""
        place = self._wandered(rows)
        atlas = self._atlas.to(device)
        query, key = (self._view(atlas, rows, place, device) for _ in range(2))
        return Batch(query, key, self._ids(rows, place).to(device))

    def _ids(self, rows: Tensor, place: Tensor) -> Tensor:
        """Ids of a batch; windows of about one size whose centres nearly meet share one too.

        They may have wandered from different grains or tiles to the same stretch of boundary.
        """
        ids, number, half = self.ids[rows], self._number[rows], place[:, 2]
        smaller = half[:, None].minimum(half)
        close = torch.cdist(place[:, :2], place[:, :2]) < smaller / 2
        alike = half[:, None].maximum(half) < 1.5 * smaller
        one = (number[:, None] == number) & close & alike | (ids[:, None] == ids)
        while True:
            merged = torch.where(one, ids, ids.max()).min(1).values
            if torch.equal(merged, ids):
                return ids
            ids = merged

    def _wandered(self, rows: Tensor) -> Tensor:
        """(N, 3) centre and half side, some of them moved to another place of the same grain."""
        place, number = self._place[rows], len(rows)
        y, x, half = place.unbind(1)
        grain = self._grain[rows] >= 0
        pick = self._begin[rows] + (torch.rand(number) * self._count[rows]).long()
        pixel = self._pixels[pick.clamp(max=len(self._pixels) - 1)]
        tile = (torch.rand(2, number) - 0.5) * 2 * half
        there_y = torch.where(grain, (pixel // self._side[rows, 1]).float(), y + tile[0])
        there_x = torch.where(grain, (pixel % self._side[rows, 1]).float(), x + tile[1])
        # Grains differ in size and so do their windows; tiles have the size that was asked for.
        factor = torch.where(grain, 0.7 + 0.7 * torch.rand(number), 1.0)
        there = torch.stack([there_y, there_x, half * factor], 1)
        return torch.where(torch.rand(number, 1) < self.wander, there, place)

    def _view(self, atlas: Atlas, rows: Tensor, place: Tensor, device: torch.device) -> Tensor:
        number = len(rows)
        y, x, half = place.unbind(1)
        move = (2 * torch.rand(2, number) - 1) * self.shift * 2 * half
        half = half * (1 + self.scale * (2 * torch.rand(number) - 1))
        half = half.minimum((self._side[rows].min(1).values - 1) / 2)
        height, width = (side.float() for side in self._side[rows].unbind(1))
        turned = Views(
            map=self._number[rows],
            y=(y + move[0]).maximum(half).minimum(height - 1 - half),
            x=(x + move[1]).maximum(half).minimum(width - 1 - half),
            half=half,
            angle=360 * torch.rand(number),
            grain=self._grain[rows],
            mirror=torch.where(torch.rand(number) < 0.5 * self.mirror, -1.0, 1.0),
        )
        windows = atlas.windows(
            Views(**{name: part.to(device) for name, part in vars(turned).items()})
        )
        # Drawn on the CPU, so that a run does not depend on the device.
        noise = self.noise * torch.randn(windows.shape).to(device)
        return self.reader.prepare((windows + noise) * disk(self._size, device))  # type: ignore[no-any-return]


def _members(maps: list[Map], number: Tensor, grain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels of every window's grain, as one list and where each window's part begins."""
    pixels, begin, count, total = [], torch.zeros_like(grain), torch.ones_like(grain), 0
    for which, one in enumerate(maps):
        rows = torch.nonzero((number == which) & (grain >= 0)).flatten()
        if one.grains is None or not len(rows):
            continue
        labels = one.grains.flatten()
        order = labels.argsort(stable=True)
        ranked = labels[order].long()
        first = torch.searchsorted(ranked, grain[rows].long())
        begin[rows] = total + first
        count[rows] = torch.searchsorted(ranked, grain[rows].long(), right=True) - first
        pixels.append(order)
        total += len(order)
    return torch.cat(pixels) if pixels else torch.zeros(1, dtype=torch.long), begin, count
