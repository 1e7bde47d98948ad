"""Letters to codes: a code is a set of bases, one bit each, as in BAM files.

A = 1, C = 2, G = 4, T = 8, and an IUPAC letter is the sum of what it may stand for (R = A or G = 5,
N = 15). Complementing a set reverses its four bits, so R and Y, K and M, B and V, D and H swap as
they should, and 0, no base at all, pads.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Codes = NDArray[np.uint8]

LETTERS = "-ACMGRSVTWYHKDBN"
N = 15
UNKNOWN = 255  # a letter that is no base
COMPLEMENT = np.array([int(f"{code:04b}"[::-1], 2) for code in range(16)], dtype=np.uint8)

_LETTER_OF = np.frombuffer(LETTERS.encode(), dtype=np.uint8)
_CODE_OF = np.full(256, UNKNOWN, dtype=np.uint8)
for _code, _letter in enumerate(LETTERS[1:], start=1):
    _CODE_OF[[ord(_letter), ord(_letter.lower())]] = _code
_CODE_OF[[ord("U"), ord("u")]] = LETTERS.index("T")


def encode(text: str | bytes) -> Codes:
    """One code a letter; U reads as T, and `UNKNOWN` stands for what is no IUPAC letter.

    Example:
        >>> encode("acgUN?").tolist()
        [1, 2, 4, 8, 15, 255]
    """
    raw = text if isinstance(text, bytes) else text.encode("ascii", "replace")
    codes: Codes = _CODE_OF[np.frombuffer(raw, dtype=np.uint8)]
    return codes


def decode(codes: Codes) -> str:
    """The letters of codes.

    Example:
        >>> decode(reverse_complement(encode("AACR")))
        'YGTT'
    """
    return _LETTER_OF[codes].tobytes().decode("ascii")


def reverse_complement(codes: Codes) -> Codes:
    """The other strand of one sequence, (L,) to (L,)."""
    return COMPLEMENT[codes[::-1]]


def flip_strands(codes: Tensor, which: Tensor) -> Tensor:
    """Reads of a padded batch to the other strand; the padding stays behind them.

    Args:
        codes: (N, L) uint8, zeros after the end of each read.
        which: (N,) bool, the reads to turn.
    """
    length = (codes != 0).sum(1, keepdim=True)
    place = torch.arange(codes.shape[1], device=codes.device)
    source = torch.where(which[:, None] & (place < length), length - 1 - place, place)
    table = torch.from_numpy(COMPLEMENT).to(codes.device)
    turned = codes.gather(1, source)
    return torch.where(which[:, None], table[turned.int()], turned)
