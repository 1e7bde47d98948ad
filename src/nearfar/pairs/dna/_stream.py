"""Files to packed sequences, a part at a time, mates of paired files named as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nearfar.pairs._walk import printable
from nearfar.pairs.dna._bases import UNKNOWN, encode
from nearfar.pairs.dna._files import Record, records
from nearfar.pairs.dna._sequences import Sequences

# What is in memory at a time: this many bases, or reads.
_BASES, _READS = 2**22, 2**13
_FIRST = re.compile(r"^(.*(?:[_.-]R?|[_.-]read))1((?:_\d+)?\.f(?:ast)?q(?:\.\w+)?)$", re.I)


@dataclass(frozen=True)
class Part:
    """Some of the records of a file.

    Attributes:
        file: Where they are from.
        names: Name of each; a mate's ends in /1 or /2.
        sequences: Their bases.
        skipped: What could not be read there, each with the reason.
    """

    file: Path
    names: list[str]
    sequences: Sequences
    skipped: dict[str, str] = field(default_factory=dict)


def find_mates(files: Sequence[Path]) -> dict[Path, tuple[Path, str]]:
    """The files of pairs: each to the first file of its pair, and 1 or 2.

    Two FASTQ files are a pair if their names differ in 1 and 2 alone, as those of ``a_R1.fastq.gz``
    and ``a_R2.fastq.gz``, no third one is there, and their first records are of one fragment.
    """
    there, found = set(files), dict[Path, tuple[Path, str]]()
    for first in files:
        match = _FIRST.match(first.name)
        if match is None:
            continue
        second, third = (first.with_name(f"{match[1]}{number}{match[2]}") for number in "23")
        if second in there and third not in there and _one_fragment(first, second):
            found |= {first: (first, "1"), second: (first, "2")}
    return found


def _one_fragment(first: Path, second: Path) -> bool:
    one, other = (next((record.name for record in records(f)), "") for f in (first, second))
    return one == other or (one[-2:] in ("/1", ".1") and f"{one[:-1]}2" == other)


def stream_parts(files: Sequence[Path]) -> Iterator[Part]:
    """Every record of every file; empty ones and those with other letters than IUPAC's skipped."""
    mates = find_mates(files)
    for file in files:
        which = mates[file][1] if file in mates else None
        waiting: list[Record] = []
        bases = before = 0
        for record in records(file):
            waiting.append(record)
            bases += len(record.letters)
            if bases >= _BASES or len(waiting) >= _READS:
                yield _part(file, waiting, which, before)
                before += len(waiting)
                waiting, bases = [], 0
        if waiting:
            yield _part(file, waiting, which, before)


def _part(file: Path, every: Sequence[Record], mate: str | None, before: int) -> Part:
    codes = encode("".join(record.letters for record in every))
    bounds = np.cumsum([0, *(len(record.letters) for record in every)], dtype=np.int64)
    empty = [row for row, record in enumerate(every) if not record.letters]
    wrong = {row: every[row].wrong or "no bases" for row in empty}
    strange = np.flatnonzero(codes == UNKNOWN)
    for row in np.unique(np.searchsorted(bounds, strange, "right") - 1).tolist():
        letters = every[row].letters
        place = int((encode(letters) == UNKNOWN).argmax())
        wrong[row] = f"{letters[place]!r} at base {place + 1} is no IUPAC letter"
    names = [_named(record.name, mate) for record in every]
    sequences = Sequences(codes, bounds)
    if wrong:
        good = [row for row in range(len(every)) if row not in wrong]
        sequences = Sequences.of(sequences[row] for row in good)
        # Damaged files may name several records alike: each is counted.
        skipped = {}
        for row, why in wrong.items():
            name = f"{printable(file.name)}, record {before + row + 1}: {every[row].name}"
            skipped[name] = f"{name}: {why}"
        return Part(file, [names[row] for row in good], sequences, skipped)
    return Part(file, names, sequences)


def _named(name: str, mate: str | None) -> str:
    return name if mate is None or name.endswith(f"/{mate}") else f"{name}/{mate}"
