"""Reals and fakes: two of a kind belong together, the other kind is the crowd."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._pairs import Batch
from nearfar.pairs._reader import Reader

# (number) fakes, before `Reader.prepare`, without a graph; drawn from torch's random state.
Fakes = Callable[[int], Tensor]
REAL, FAKE = 0, 1


class GamePairs:
    """Real items in memory, and fakes from whoever makes them.

    Args:
        items: (N, ...) what the reader prepares, N >= 2.
        reader: Prepares items and fakes for the encoder.
        names: (N,) what a person calls the items.
        fakes: Makes fakes.

    Raises:
        NearfarError: Fewer than two items: a real's partner is another real.
    """

    def __init__(self, items: Tensor, reader: Reader, names: Sequence[str], fakes: Fakes) -> None:
        if len(items) < 2:
            raise NearfarError(
                f"The data hold {len(items)} item(s). Wanted at least 2: a real one's partner is "
                "another real one."
            )
        self.items, self.reader = items, reader
        self._names, self._fakes = list(names), fakes
        self.fingerprint = hashlib.blake2b(items.numpy().tobytes(), digest_size=8).hexdigest()

    def __len__(self) -> int:
        return len(self.items)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Reals ``rows`` with another real each, then as many fakes with another fake each.

        All reals have one id, and so have all fakes: a real is never the negative of a real.
        """
        number = len(rows)
        others = (rows + torch.randint(1, len(self.items), (number,))) % len(self.items)
        real = self.reader.prepare(self.items[torch.cat([rows, others])].to(device))
        with torch.no_grad():
            fake = self.reader.prepare(self._fakes(2 * number).to(device))
        ids = torch.tensor([REAL, FAKE], device=device).repeat_interleave(number)
        query, key = (torch.cat(part) for part in zip(real.chunk(2), fake.chunk(2), strict=True))
        return Batch(query, key, ids)

    def names(self, rows: Tensor) -> list[str]:
        return [self._names[row] for row in rows.tolist()]
