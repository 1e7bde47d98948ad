"""Two random views of one picture are a pair."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._pairs import Batch, Side
from nearfar.pairs._reader import Reader
from nearfar.pairs._views import Views


class PicturePairs:
    """Pictures in memory, and the random views that make pairs of them.

    Args:
        pixels: (N, 3, H, W) uint8, N >= 2.
        views: Random views of a batch of floats in 0..1.
        reader: Prepares views for the encoder.
        names: (N,) what a person calls them.
        ids: (N,) equal where two pictures are the same; by default all differ.

    Raises:
        NearfarError: Fewer than two pictures: a query needs a negative.
    """

    alone: Side = "key"

    def __init__(
        self,
        pixels: Tensor,
        views: Views,
        reader: Reader,
        names: Sequence[str],
        ids: Tensor | None = None,
    ) -> None:
        self.pixels, self.views, self.reader = pixels, views, reader
        self._names = list(names)
        self.ids = torch.arange(len(pixels)) if ids is None else ids
        different = len(set(self.ids.tolist()))
        if different < 2:
            raise NearfarError(
                f"The data hold {len(pixels)} picture(s), {different} of them "
                "different. Wanted at least 2: every query needs a negative to be told from."
            )
        self.fingerprint = _fingerprint(pixels, self._names)

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two independent views of each picture, made on ``device``."""
        pictures = self.pixels[rows].to(device, non_blocking=True).float() / 255
        with torch.no_grad():
            query, key = (self.reader.prepare(self.views(pictures)) for _ in range(2))
        return Batch(query, key, self.ids[rows].to(device))

    def names(self, rows: Tensor) -> list[str]:
        return [self._names[row] for row in rows.tolist()]


def _fingerprint(pixels: Tensor, names: Sequence[str]) -> str:
    content = hashlib.blake2b("\n".join(names).encode(), digest_size=8)
    content.update(pixels.numpy().tobytes())
    return content.hexdigest()
