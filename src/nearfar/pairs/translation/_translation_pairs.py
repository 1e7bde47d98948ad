"""A sentence and one of its translations are a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.pairs._pairs import Batch, Side
from nearfar.pairs.translation._bitext import Bitext, two_or_more
from nearfar.pairs.translation._reader import SentenceReader


class TranslationPairs:
    """Rows of translations in memory, and how two of a row are drawn.

    Which sentence of a row asks and which answers is drawn anew each time, so all directions
    between all its languages come up. Rows that share a sentence, directly or through others, have
    one id and are never negatives of each other.

    Args:
        bitext: What was read.
        reader: Cuts it into subwords, once.
        drop: The chance that a subword is missing from a view, so that no single word decides.

    Attributes:
        bitext: The rows with a translation.

    Raises:
        NearfarError: Fewer than two different rows with a translation.
    """

    alone: Side = "key"

    def __init__(self, bitext: Bitext, reader: SentenceReader, drop: float = 0.1) -> None:
        self.bitext = two_or_more(bitext)
        self.fingerprint = f"{self.bitext.fingerprint}, {hash_of(reader)}"
        self.drop = drop
        self.ids = torch.from_numpy(self.bitext.groups())
        self.tokens = reader.tokens(self.bitext.texts)
        self._count = torch.bincount(torch.from_numpy(self.bitext.rows))
        self._first = self._count.cumsum(0) - self._count

    def __len__(self) -> int:
        return self.bitext.height

    @property
    def firsts(self) -> list[str]:
        """The first sentence of each row."""
        return [self.bitext.texts[place] for place in self._first.tolist()]

    def names(self, rows: Tensor) -> list[str]:
        first = self._first[rows].tolist()
        return [" / ".join(self.bitext.texts[place : place + 2]) for place in first]

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two sentences of each row, some subwords missing: (N, L) subwords each."""
        count = self._count[rows]
        one = (torch.rand(len(rows)) * count).long().clamp_max(count - 1)
        step = 1 + (torch.rand(len(rows)) * (count - 1)).long().clamp_max(count - 2)
        two = (one + step) % count
        query, key = (
            self.tokens.padded(self._first[rows] + place, self.drop).to(device, non_blocking=True)
            for place in (one, two)
        )
        return Batch(query, key, self.ids[rows].to(device))


def hash_of(reader: SentenceReader) -> str:
    """Changes with the vocabulary."""
    import hashlib

    return hashlib.sha256(reader.settings["tokenizer"].encode()).hexdigest()[:16]
