"""Reads to padded batches of codes: from letters, from memory, from streamed files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.dna._bases import UNKNOWN, Codes, encode, reverse_complement
from nearfar.pairs.dna._files import find_read_files
from nearfar.pairs.dna._kmers import kmer_profile
from nearfar.pairs.dna._reads import Reads
from nearfar.pairs.dna._sequences import Sequences
from nearfar.pairs.dna._stream import stream_parts
from nearfar.probes import Embed, Labelled, Probe, ReadProbe

# What an evaluation looks at: bases of a window, and windows in all.
_WINDOW, _JUDGED = 250, 2000


class ReadReader(Reader):
    """Letters, codes or packed `Sequences` to what the encoder sees.

    Args:
        longest: Of a longer sequence the middle is taken, this many bases or one more.

    Raises:
        NearfarError: ``longest`` below one.

    Example:
        >>> ReadReader().read(["ACGU", "n"]).tolist()
        [[1, 2, 4, 8], [15, 0, 0, 0]]
    """

    batch_size = 512
    example = "ACGTACGT..."

    def __init__(self, longest: int = 10_000) -> None:
        if longest < 1:
            raise NearfarError(f"longest={longest}: wanted a number of bases, 1 or more.")
        self.longest = longest
        self.settings = {"longest": longest}

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, L) uint8 codes, zeros behind each read.

        Raises:
            NearfarError: A letter that is not IUPAC's; the read is named by its beginning.
        """
        return _sequences(inputs).padded(self.longest)

    def prepare(self, batch: Tensor) -> Tensor:
        """The codes as they are: four bits a letter, A = 1, C = 2, G = 4, T = 8."""
        return batch

    def find(self, path: str) -> Inputs:
        """Every read at a path, in memory."""
        return Reads(path).inputs

    def stream(self, path: str) -> Iterator[Inputs]:
        """A few thousand reads at a time, whatever the size of the files."""
        files, left_out = find_read_files(path)
        for part in stream_parts(files):
            yield Inputs(part.names, part.sequences, None, part.skipped | left_out)

    def one(self, query: str, gallery: Inputs) -> Any:
        """Letters, or the name of a read in the gallery."""
        return gallery.items[gallery.names.index(query)] if query in gallery.names else query

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """Species where there are labels, and loci: one half of a read must find the other.

        Of contigs and long reads, windows of 250 bases are judged; those of one contig are held out
        together.
        """
        parts = [_windows(inputs) for inputs in (found, test) if inputs is not None]
        species = super().probe(*parts)
        loci = {share: halves(parts[-1].items, share / 100) for share in (50, 30)}
        overlapping = {share: both for share, both in loci.items() if len(both[0]) > 1}
        if species is None and not overlapping:
            return None
        return ReadProbe(
            labelled=species if isinstance(species, Labelled) else None,
            overlapping=overlapping,
            note="no species: a label has one contig alone, or there are too few reads; a second "
            "path (--test) can judge them"
            if species is None and found.labels is not None
            else "",
        )

    def baselines(self) -> dict[str, Embed]:
        """Canonical 4-mers and 5-mers, and the first bases one by one."""
        return {
            "canonical 4-mers": lambda inputs: kmer_profile(_sequences(inputs), 4),
            "canonical 5-mers": lambda inputs: kmer_profile(_sequences(inputs), 5),
            "one-hot": one_hot,
        }


def halves(reads: Sequence[Codes], share: float) -> tuple[Sequences, Sequences]:
    """Of each read of 60 bases or more the beginning, and the end from the other strand.

    Args:
        reads: At most the first 2,000 are cut.
        share: How much of a part also lies in the other one.
    """
    first, second = [], []
    for codes in list(reads)[:_JUDGED]:
        if len(codes) >= 60:
            part = round(len(codes) / (2 - share))
            first.append(codes[:part])
            second.append(reverse_complement(codes[len(codes) - part :]))
    return Sequences.of(first), Sequences.of(second)


def _windows(found: Inputs) -> Inputs:
    """Reads as they are, or where some are longer random windows, up to a number in all."""
    items = _sequences(found.items)
    lengths = items.lengths
    if lengths.max(initial=0) <= 2 * _WINDOW:
        return found
    draw = np.random.default_rng(0)
    each = np.ceil(_JUDGED * lengths / lengths.sum()).astype(int).clip(1, lengths // _WINDOW + 1)
    rows = np.repeat(np.arange(len(lengths)), each)
    if len(rows) > _JUDGED:
        rows = np.sort(draw.choice(rows, _JUDGED, replace=False))
    cut = []
    for row in rows.tolist():
        start = draw.integers(max(1, lengths[row] - _WINDOW + 1))
        cut.append(items[row][start : start + _WINDOW])
    return Inputs(
        [found.names[row] for row in rows],
        Sequences.of(cut),
        None if found.labels is None else [found.labels[row] for row in rows],
        groups=None if found.groups is None else [found.groups[row] for row in rows],
    )


def one_hot(inputs: Sequence[Any]) -> NDArray[np.float32]:
    """(N, 400): which base stands at each of the first hundred places."""
    codes = Sequences.of(each[:100] for each in _sequences(inputs)).padded().numpy()
    codes = np.pad(codes, ((0, 0), (0, 100 - codes.shape[1])))
    bits = (codes[..., None] >> np.arange(4)) & 1
    share = bits / np.maximum(1, bits.sum(-1, keepdims=True))
    flat: NDArray[np.float32] = share.reshape(len(codes), -1).astype(np.float32)
    return flat


def _sequences(inputs: Sequence[Any]) -> Sequences:
    if isinstance(inputs, Sequences):
        return inputs
    every = [encode(item) if isinstance(item, str | bytes) else item for item in inputs]
    for item, codes in zip(inputs, every, strict=True):
        if (np.asarray(codes) == UNKNOWN).any():
            raise NearfarError(
                f"{str(item)[:30]!r}... holds a letter that is no base. Wanted IUPAC letters: "
                "A, C, G, T or U, N, R, Y, S, W, K, M, B, D, H, V."
            )
    return Sequences.of(every)
