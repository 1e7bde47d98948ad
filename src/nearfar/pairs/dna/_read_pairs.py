"""Two random views of one read, or of two fragments of one contig or genome, are a pair."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import NearfarError, check_range
from nearfar.pairs._pairs import Batch, Side
from nearfar.pairs.dna._reads import Positives, Reads
from nearfar.pairs.dna._sequences import Sequences, canonical_ids, gathered
from nearfar.pairs.dna._views import ReadViews


class ReadPairs:
    """Reads in memory, cut into pieces, and how two views are drawn from a piece.

    A view is a window of a piece, of random length, seen through `ReadViews`. With positives
    ``read`` both windows are of one piece, and overlap unless ``overlap`` is 0. With ``contig`` and
    ``genome`` the second one lies anywhere in the same contig (and its mate), or the same file.

    Args:
        reads: What was read.
        views: Strand, errors and N's.
        positives: What two windows must share to be a pair.
        shortest: Bases of the shortest window; shorter reads are taken whole.
        longest: Bases of the longest window.
        overlap: Smallest share of the shorter window that two windows of one read have in common;
            0 for windows anywhere in the same piece.

    Attributes:
        pieces: The items: reads, or contigs in pieces.
        records: (N,) the record that each piece is of.
        ids: (N,) equal where two pieces belong together.

    Raises:
        NearfarError: Fewer than two different reads, contigs or genomes, or lengths out of order.
    """

    alone: Side = "query"  # A key may be of another read.

    def __init__(
        self,
        reads: Reads,
        views: ReadViews,
        positives: Positives = "read",
        *,
        shortest: int = 100,
        longest: int = 500,
        overlap: float = 0.3,
    ) -> None:
        if not 1 <= shortest <= longest:
            raise NearfarError(
                f"shortest={shortest} and longest={longest}: wanted 1 <= shortest <= longest."
            )
        check_range(0, 1, overlap=overlap)
        self.views, self.positives = views, positives
        self.shortest, self.longest, self.overlap = shortest, longest, overlap
        self.fingerprint = f"{reads.fingerprint}, {positives}"
        self._codes = torch.from_numpy(reads.sequences.codes)
        self._names = reads.names
        # No window crosses two pieces; long ones cost few windows at their borders.
        self.pieces, self.records = _pieces(reads.sequences, 4 * longest)
        self._start, self._length = torch.from_numpy(self.pieces.bounds), _lengths(self.pieces)
        self._offset = self._start[:-1] - torch.from_numpy(reads.sequences.bounds)[self.records]
        self.ids = reads.groups(positives)[self.records]
        if positives == "read":
            # A read in one piece goes by its own number, which its mate shares.
            cut = (_lengths(reads.sequences)[self.records] > self._length).nonzero().flatten()
            each = [self.pieces[row] for row in cut.tolist()]
            self.ids[cut] = torch.tensor(canonical_ids(each), dtype=torch.int64)
        different = len(torch.unique(self.ids))
        if different < 2:
            raise NearfarError(
                f"The data hold {len(reads)} record(s), {different} of them different as "
                f"positives={positives!r} tells them apart. Wanted at least 2: every query needs a "
                "negative to be told from."
            )
        # Pieces of one group behind each other: a place in a group is one number.
        self._order = self.ids.argsort(stable=True)
        self._ends = self._length[self._order].cumsum(0)
        _, group, size = torch.unique(self.ids, return_inverse=True, return_counts=True)
        last = self._ends[size.cumsum(0) - 1]
        first = torch.cat([last.new_zeros(1), last[:-1]])
        self._first, self._last = first[group], last[group]

    def __len__(self) -> int:
        return len(self.pieces)

    def names(self, rows: Tensor) -> list[str]:
        return [
            f"{self._names[record]}:{start}"
            for record, start in zip(
                self.records[rows].tolist(), self._offset[rows].tolist(), strict=True
            )
        ]

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """Two windows of each piece, or of its group, seen on ``device``."""
        length = self._window(rows)
        start = self._start[rows] + _uniform(self._length[rows] - length)
        if self.positives == "read":
            partner, other = rows, self._window(rows)
            shared = (self.overlap * torch.minimum(length, other)).long().clamp_min(1)
            low, high = self._start[rows], self._start[rows] + self._length[rows] - other
            if self.overlap:
                low = torch.maximum(low, start + shared - other)
                high = torch.minimum(high, start + length - shared)
            place = low + _uniform(high - low)
        else:
            spot = self._first[rows] + _uniform(self._last[rows] - self._first[rows] - 1)
            partner = self._order[torch.searchsorted(self._ends, spot, right=True)]
            other = self._window(partner)
            place = self._start[partner] + _uniform(self._length[partner] - other)
        query, key = (
            self.views(gathered(self._codes, begin, size).to(device, non_blocking=True))
            for begin, size in ((start, length), (place, other))
        )
        return Batch(query, key, self.ids[rows].to(device))

    def _window(self, rows: Tensor) -> Tensor:
        """Log-uniform lengths between the shortest and the longest that each piece allows."""
        least = self._length[rows].clamp_max(self.shortest)
        most = self._length[rows].clamp_max(self.longest)
        ratio = ((most + 1) / least) ** torch.rand(len(rows))
        return (least * ratio).long().clamp_max(most)


def _uniform(most: Tensor) -> Tensor:
    """Whole numbers between 0 and ``most``, both included."""
    draw = torch.rand(len(most), dtype=torch.float64) * (most + 1)
    return torch.minimum(draw.long(), most)


def _lengths(sequences: Sequences) -> Tensor:
    return torch.from_numpy(sequences.lengths)


def _pieces(sequences: Sequences, most: int) -> tuple[Sequences, Tensor]:
    """Sequences cut into equal pieces of at most ``most`` bases, and the record of each piece."""
    length = _lengths(sequences)
    number = (length + most - 1) // most
    record = torch.repeat_interleave(torch.arange(len(length)), number)
    place = torch.arange(len(record)) - (number.cumsum(0) - number)[record]
    start = torch.from_numpy(sequences.bounds)[record] + length[record] * place // number[record]
    bounds = np.append(start.numpy(), sequences.bounds[-1])
    return Sequences(sequences.codes, bounds), record
