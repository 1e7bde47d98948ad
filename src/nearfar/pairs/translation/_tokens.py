"""Sentences as numbers of subwords, packed one behind another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Tokens:
    """N sentences of subwords in one piece of memory.

    Args:
        sentences: Numbers of subwords.
        pad: The padding's number.
    """

    def __init__(self, sentences: Sequence[Sequence[int]], pad: int) -> None:
        self.pad = pad
        self.lengths = torch.tensor([len(each) for each in sentences], dtype=torch.int64)
        self._start = self.lengths.cumsum(0) - self.lengths
        flat = [number for each in sentences for number in each]
        self._flat = torch.from_numpy(np.array(flat or [pad], dtype=np.int64))

    @classmethod
    def of(cls, tokenizer: Any, texts: Sequence[str], pad: int) -> Tokens:
        """Cut texts by a ``tokenizers.Tokenizer``."""
        return cls([each.ids for each in tokenizer.encode_batch(list(texts))], pad)

    def __len__(self) -> int:
        return len(self.lengths)

    def padded(self, rows: Tensor | None = None, drop: float = 0.0) -> Tensor:
        """Sentences side by side, padding behind each.

        Args:
            rows: (M,) which; by default all.
            drop: The chance that a subword is left out, drawn from torch's random state; one of
                a sentence stays always.

        Returns:
            (M, L) int64, L at least 1.
        """
        start = self._start if rows is None else self._start[rows]
        length = self.lengths if rows is None else self.lengths[rows]
        place = torch.arange(max(1, int(length.max())) if len(length) else 1)
        inside = place < length[:, None]
        numbers = self._flat[(start[:, None] + place).clamp_max(len(self._flat) - 1)]
        numbers = numbers.masked_fill(~inside, self.pad)
        if not drop:
            return numbers
        draw = torch.rand(numbers.shape).masked_fill(~inside, -1.0)
        kept = (draw >= drop) | (draw == draw.max(1, keepdim=True).values)
        return closed(numbers, kept & inside, self.pad)


def closed(numbers: Tensor, kept: Tensor, pad: int) -> Tensor:
    """(N, L) without what is not ``kept``, the gaps closed and padding behind."""
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
    most = max(1, int(kept.sum(1).max()))
    numbers = numbers.masked_fill(~kept, pad).gather(1, order)
    return numbers[:, :most]
