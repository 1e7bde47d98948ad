"""Reads in memory, a byte a base, and which of them are the same or from one place."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._labels import folder_labels
from nearfar.pairs._reader import Inputs
from nearfar.pairs._walk import printable
from nearfar.pairs.dna._files import find_read_files
from nearfar.pairs.dna._sequences import Sequences, canonical_ids
from nearfar.pairs.dna._stream import find_mates, stream_parts

Positives = Literal["read", "contig", "genome"]


class Reads:
    """Every read, contig or genome at a path.

    Args:
        path: A FASTA or FASTQ file, plain or compressed, a folder of them, or a pattern.

    Attributes:
        names: What each record is called.
        sequences: Their bases.
        files: (N,) number of the file that each is from.
        labels: Name of the first-level sub-folder of each, or None; see `folder_labels`.
        remarks: Why there are no labels, where there nearly were.
        skipped: What could not be read, each with the reason.
        seconds: What reading took.

    Raises:
        NearfarError: No files, or not one record that can be read.
    """

    def __init__(self, path: str | Path) -> None:
        began = time.perf_counter()
        root = Path(path)
        found, left_out = find_read_files(path)
        parts = list(stream_parts(found))
        self.skipped = {name: why for part in parts for name, why in part.skipped.items()}
        self.names = [name for part in parts for name in part.names]
        if not self.names:
            first = next(iter(self.skipped.values()), f"{found[0].name}: no records")
            raise NearfarError(
                f"path={str(path)!r}: none of its {len(self.skipped)} records can be read; the "
                f"first: {first}. Wanted FASTA or FASTQ."
            )
        self.skipped |= left_out
        self.sequences = Sequences(
            np.concatenate([part.sequences.codes for part in parts]),
            np.cumsum([0, *(n for part in parts for n in part.sequences.lengths)], dtype=np.int64),
        )
        row = {file: number for number, file in enumerate(found)}
        self.files = np.repeat([row[p.file] for p in parts], [len(p.names) for p in parts])
        mates = find_mates(found)
        self._first_mates = [mates[file][0] if file in mates else None for file in found]
        self._genome_of = np.array(
            [row[pair or file] for pair, file in zip(self._first_mates, found, strict=True)]
        )
        inside = [file.relative_to(root) if root.is_dir() else file.name for file in found]
        labels, self.remarks = folder_labels([printable(file) for file in inside])
        self.labels = None if labels is None else [labels[file] for file in self.files.tolist()]
        self.seconds = time.perf_counter() - began

    def __len__(self) -> int:
        return len(self.names)

    @property
    def summary(self) -> str:
        """How many reads, how long, and how fast they were read, for a person."""
        length = self.sequences.lengths
        pairs = sorted({pair.name for pair in self._first_mates if pair is not None})
        mates = f"; {len(pairs):,} pair(s) of files hold mates, such as {pairs[0]}" if pairs else ""
        return (
            f"{len(self):,} records in {self.files.max() + 1:,} file(s), {length.sum():,} bases "
            f"({length.min():,} to {length.max():,} each, median {int(np.median(length)):,}), "
            f"{len(self.skipped):,} skipped; read at {len(self) / self.seconds:,.0f} records "
            f"({length.sum() / self.seconds / 1e6:,.1f} Mbp) a second{mates}"
        )

    def groups(self, positives: Positives) -> Tensor:
        """(N,) numbers, equal for records that are from one place.

        Args:
            positives: ``read`` or ``contig``: the same up to reverse complement, or mates of one
                fragment; ``genome``: from one file, or from both of a pair.
        """
        if positives == "genome":
            return torch.from_numpy(self._genome_of[self.files])
        ids = canonical_ids(self.sequences)
        fragments: dict[tuple[Path, str], int] = {}
        for row, (name, file) in enumerate(zip(self.names, self.files.tolist(), strict=True)):
            pair = self._first_mates[file]
            if pair is not None:
                ids[row] = fragments.setdefault((pair, name.removesuffix(name[-2:])), ids[row])
        return torch.tensor(ids)

    @property
    def inputs(self) -> Inputs:
        """The reads as a reader finds them; those of one contig or fragment are one group."""
        groups = None if self.labels is None else self.groups("contig").tolist()
        return Inputs(self.names, self.sequences, self.labels, self.skipped, self.remarks, groups)

    @property
    def fingerprint(self) -> str:
        """Changes when a name or a base does."""
        content = hashlib.blake2b("\n".join(self.names).encode(), digest_size=8)
        content.update(self.sequences.codes.tobytes())
        return content.hexdigest()
