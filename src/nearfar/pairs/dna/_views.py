"""What may happen to a read on its way from the molecule: strand, sequencing errors, lost bases.

All of it works on padded batches, on the batch's device: (N, L) uint8 codes, zeros behind a read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nearfar.errors import NearfarError, check_range
from nearfar.pairs.dna._bases import N, flip_strands

Errors = Literal["illumina", "ont", "none"]
# Of 4 % substitutions, 3 % insertions and 4 % deletions, an ordinary nanopore read of 2017 to 2020.
_ONT = {"substitution": 4 / 11, "insertion": 3 / 11, "deletion": 4 / 11}
# Inside a homopolymer, nanopores lose and repeat bases this many times as often.
_HOMOPOLYMER = 2.0


@dataclass(frozen=True)
class ReadViews:
    """A random view of each read: a strand, then errors as a sequencer makes them, then N's.

    Args:
        errors: ``illumina``: substitutions, four times as many at the end of a read as at its
            beginning; ``ont``: substitutions, insertions and deletions, twice as many indels in
            homopolymers; ``none``.
        error_rate: Mean errors a base. Each view draws its own rate between none and twice this
            one, so that clean and bad reads are both seen.
        unknown: Share of bases that become N.

    Raises:
        NearfarError: An unknown kind of errors, or a share outside 0..0.5.
    """

    errors: Errors = "illumina"
    error_rate: float = 0.02
    unknown: float = 0.005

    def __post_init__(self) -> None:
        if self.errors not in ("illumina", "ont", "none"):
            raise NearfarError(f"errors={self.errors!r}: wanted illumina, ont or none.")
        check_range(0, 0.5, error_rate=self.error_rate, unknown=self.unknown)

    def __call__(self, codes: Tensor) -> Tensor:
        """(N, L) to (N, L'), where insertions may have made the longest read longer."""
        codes = flip_strands(codes, torch.rand(len(codes), device=codes.device) < 0.5)
        rate = self.error_rate * 2 * torch.rand(len(codes), 1, device=codes.device)
        if self.errors == "illumina":
            codes = substitute(codes, rate * rising(codes))
        elif self.errors == "ont":
            codes = substitute(codes, rate * _ONT["substitution"])
            codes = insert_and_delete(codes, rate * _ONT["insertion"], rate * _ONT["deletion"])
        lost = torch.rand(codes.shape, device=codes.device) < self.unknown
        return codes.masked_fill(lost & (codes != 0), N)


def rising(codes: Tensor) -> Tensor:
    """(N, L) factors of mean one that grow from 0.5 to 2 along each read with the square."""
    length = (codes != 0).sum(1, keepdim=True).clamp_min(1)
    place = (torch.arange(codes.shape[1], device=codes.device) / length).clamp_max(1)
    return 0.5 + 1.5 * place.square()


def substitute(codes: Tensor, rate: Tensor) -> Tensor:
    """Bases become one of the three others with this chance; N's and other sets stay.

    Args:
        codes: (N, L) uint8.
        rate: Broadcasts to (N, L).
    """
    single = (codes & (codes - 1) == 0) & (codes != 0)
    hit = (torch.rand(codes.shape, device=codes.device) < rate) & single
    turn = torch.randint(1, 4, codes.shape, device=codes.device, dtype=torch.uint8)
    # A base is one of four bits: turning the four bits in a circle gives the other three.
    wide = codes << turn
    return torch.where(hit, (wide | (wide >> 4)) & 15, codes)


def insert_and_delete(codes: Tensor, insertion: Tensor, deletion: Tensor) -> Tensor:
    """Bases get lost, or another one appears behind them, more often inside a homopolymer.

    Behind a base that repeats the one before it, the new one repeats it too: the run gets longer.

    Args:
        codes: (N, L) uint8.
        insertion: (N, 1) chance behind a base.
        deletion: (N, 1) chance of a base.

    Returns:
        (N, L') uint8.
    """
    run = torch.zeros_like(codes, dtype=torch.bool)
    run[:, 1:] = (codes[:, 1:] == codes[:, :-1]) & (codes[:, 1:] != 0)
    more = 1 + (_HOMOPOLYMER - 1) * run
    chance = torch.rand(codes.shape, device=codes.device)
    gone = chance < deletion * more
    extra = ~gone & (chance > 1 - insertion * more)
    copies = (1 + extra.int() - gone.int()) * (codes != 0)
    length = copies.sum(1)
    row = torch.repeat_interleave(torch.arange(len(codes), device=codes.device), length)
    flat = torch.repeat_interleave(codes.flatten(), copies.flatten())
    place = torch.arange(len(flat), device=codes.device) - (length.cumsum(0) - length)[row]
    out = codes.new_zeros(len(codes), int(length.max()) if len(codes) else 0)
    out[row, place] = flat
    # The second copy of a base stands one place behind where its first one went.
    where = (copies.cumsum(1) - 1)[extra & ~run]
    rows = torch.arange(len(codes), device=codes.device)[:, None].expand_as(codes)[extra & ~run]
    out[rows, where] = 1 << torch.randint(4, where.shape, device=codes.device, dtype=torch.uint8)
    return out
