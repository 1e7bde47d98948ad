"""Many sequences of any length in one array: a byte a base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.pairs.dna._bases import Codes, reverse_complement


class Sequences(Sequence[Codes]):
    """Sequences behind each other.

    Args:
        codes: (B,) uint8, all bases.
        bounds: (N + 1,) where each begins, and the end of the last.

    Example:
        >>> from nearfar.pairs.dna import encode
        >>> two = Sequences.of([encode("ACG"), encode("T")])
        >>> len(two), two[1].tolist(), two.padded().tolist()
        (2, [8], [[1, 2, 4], [8, 0, 0]])
    """

    def __init__(self, codes: Codes, bounds: NDArray[np.int64]) -> None:
        self.codes, self.bounds = codes, bounds

    @classmethod
    def of(cls, each: Iterable[Codes]) -> Sequences:
        """Pack sequences."""
        every = list(each)
        bounds = np.cumsum([0, *map(len, every)], dtype=np.int64)
        return cls(np.concatenate([*every, np.zeros(0, np.uint8)]), bounds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) bases of each."""
        return np.diff(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, row: int) -> Codes: ...

    @overload
    def __getitem__(self, row: slice) -> Sequences: ...

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, slice):
            first, last, step = row.indices(len(self))
            if step != 1:
                return Sequences.of(self[number] for number in range(first, last, step))
            return Sequences(self.codes, self.bounds[first : max(first, last) + 1])
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        return self.codes[self.bounds[row] : self.bounds[row + 1]]

    def padded(self, longest: int | None = None) -> Tensor:
        """(N, L) uint8, zeros behind each.

        Args:
            longest: Of a longer sequence the middle is taken, this many bases or one more: as many
                are cut from one end as from the other, so that both strands keep the same bases.
        """
        start, length = self.bounds[:-1], self.lengths
        if longest is not None:
            cut = np.maximum(length - longest, 0) // 2
            start, length = start + cut, length - 2 * cut
        return gathered(torch.from_numpy(self.codes), *map(torch.from_numpy, (start, length)))


def gathered(codes: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Windows of one long array as a padded batch.

    Args:
        codes: (B,) uint8.
        start: (N,) where each window begins.
        length: (N,) its bases.

    Returns:
        (N, longest window) uint8, zeros behind each window.
    """
    width = int(length.max()) if len(length) else 0
    place = torch.arange(width)
    inside = place < length[:, None]
    where = (start[:, None] + place).mul_(inside)
    return codes[where].mul_(inside) if len(codes) else torch.zeros(where.shape, dtype=torch.uint8)


def canonical_ids(each: Iterable[Codes]) -> list[int]:
    """A number for each sequence, equal where two are the same up to reverse complement.

    A 64-bit hash of the smaller of both strands: among a billion reads the chance that two
    different ones share a number is 3 %, and all that a clash costs is one negative.

    Example:
        >>> from nearfar.pairs.dna import encode
        >>> a, b, c = canonical_ids([encode("AACG"), encode("CGTT"), encode("AACC")])
        >>> a == b, a == c
        (True, False)
    """
    return [_hash(min(c.tobytes(), reverse_complement(c).tobytes())) for c in each]


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little", signed=True)
