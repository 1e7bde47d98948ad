"""Counted k-mers, both strands as one: the feature that needs no training and is hard to beat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearfar.pairs.dna._sequences import Sequences

# Sets of one base count; an ambiguous letter ends a k-mer.
_DIGIT = np.full(16, -1, dtype=np.int32)
_DIGIT[[1, 2, 4, 8]] = range(4)


def canonical_kmers(k: int) -> NDArray[np.int32]:
    """(4^k,) number of each k-mer among those that are told apart up to reverse complement.

    Example:
        >>> int(canonical_kmers(4).max()) + 1, int(canonical_kmers(5).max()) + 1
        (136, 512)
    """
    code = np.arange(4**k)
    other, rest = np.zeros_like(code), code
    for _ in range(k):
        other, rest = other * 4 + 3 - rest % 4, rest // 4
    return np.unique(np.minimum(code, other), return_inverse=True)[1].astype(np.int32)


def kmer_profile(sequences: Sequences, k: int) -> NDArray[np.float32]:
    """Square roots of canonical k-mer frequencies, unit vectors (the Hellinger embedding).

    Args:
        sequences: N sequences.
        k: Letters of a k-mer.

    Returns:
        (N, 136) for k = 4, (N, 512) for k = 5; zeros for a sequence without any k-mer.
    """
    number = canonical_kmers(k)
    kinds = int(number.max()) + 1
    out = np.zeros((len(sequences), kinds), dtype=np.float32)
    for row, codes in enumerate(sequences):
        digits = _DIGIT[codes]
        code = np.zeros(max(0, len(digits) - k + 1), dtype=np.int32)
        whole = np.ones(len(code), dtype=bool)
        for shift in range(k):
            part = digits[shift : shift + len(code)]
            code, whole = code * 4 + part, whole & (part >= 0)
        counts = np.bincount(number[code[whole]], minlength=kinds)
        out[row] = np.sqrt(counts / max(1, counts.sum()))
    return out
