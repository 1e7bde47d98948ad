"""The pairs of one client: a part of a data set, whose items are all that it can ask for."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from nearfar.pairs import Batch, LonePairs, Pairs


class Part:
    """Some rows of a data set as a data set.

    Views are the whole's. Where they show other items (another read of the genome, a node's
    neighbours), those may be another client's.

    Args:
        pairs: The whole.
        rows: (N,) rows of it.
    """

    def __init__(self, pairs: Pairs, rows: Tensor) -> None:
        self._pairs, self.rows = pairs, rows.long()
        if isinstance(pairs, LonePairs):
            self.alone = pairs.alone
        content = hashlib.blake2b(pairs.fingerprint.encode(), digest_size=8)
        content.update(self.rows.numpy().tobytes())
        self.fingerprint = content.hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Pairs of the client's items ``rows``, counted from its first."""
        return self._pairs.draw(self.rows[rows], device)

    def names(self, rows: Tensor) -> list[str]:
        return self._pairs.names(self.rows[rows])
