"""Read files: which there are, and their records one by one, whatever lies between them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.pairs._walk import but, printable, walk

_READS = re.compile(r"\.(fa|fna|ffn|frn|fasta|fq|fastq)(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)
# What a damaged file raises, in text or in compression.
_DAMAGE = (OSError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True)
class Record:
    """A name (the header's first word) and letters, or what is wrong with them."""

    name: str
    letters: str = ""
    wrong: str = ""


def find_read_files(path: str | Path) -> tuple[list[Path], dict[str, str]]:
    """The FASTA and FASTQ files at a path, sorted.

    Args:
        path: A file, a folder (searched to its bottom) or a pattern such as ``reads/*.fastq.gz``.

    Returns:
        The files, and the folders that cannot be entered, each with the reason.

    Raises:
        NearfarError: There are none.
    """
    root = Path(path)
    if root.is_file():
        return [root], {}
    skipped: dict[str, str] = {}
    if root.is_dir():
        found = walk(root, _READS.search, skipped)
    else:
        found = sorted(Path(root.anchor).glob(str(root.relative_to(root.anchor))))
    if not found:
        raise NearfarError(
            f"path={str(path)!r}: no reads there{but(skipped)}. Wanted a FASTA or FASTQ file, "
            "plain or .gz, a folder of them, or a pattern in quotes: 'reads/*.fastq.gz'."
        )
    return found, skipped


def records(file: Path) -> Iterator[Record]:
    """The records of a file, streamed; a damaged one is named and the next is looked for.

    dnaio reads. It stops at the first record that is not well formed; from there on (and for FASTQ
    with several lines a sequence) the slower `_fastq` and `_fasta` below go on.
    """
    import dnaio

    done = 0
    try:
        with dnaio.open(file) as reader:
            for record in reader:
                yield Record(record.id, record.sequence)
                done += 1
        if done:
            return
    except (dnaio.FileFormatError, dnaio.UnknownFileFormat, *_DAMAGE):
        pass
    yield from islice(_salvaged(file), done, None)


def _salvaged(file: Path) -> Iterator[Record]:
    from xopen import xopen

    damage: list[str] = []

    def lines() -> Iterator[str]:
        try:
            with xopen(file, "rt", encoding="latin-1", threads=0) as text:
                yield from (line.rstrip() for line in text)
        except _DAMAGE as error:
            damage.append(str(error))

    text = lines()
    first = next((line for line in text if line), "")
    parse = {"@": _fastq, ">": _fasta}.get(first[:1])
    if parse is not None:
        yield from parse(chain([first], text))
    elif not damage:
        what = "is empty" if not first else f"begins with {first[:20]!r}; wanted '>' or '@'"
        yield Record(printable(file.name), wrong=f"the file {what}")
    for error in damage:
        yield Record(printable(file.name), wrong=f"the file cannot be read to its end: {error}")


def _fasta(lines: Iterable[str]) -> Iterator[Record]:
    name, letters = "", list[str]()
    for line in lines:
        if line.startswith(">"):
            if name:
                yield Record(name, "".join(letters))
            name, letters = _name(line), []
        else:
            letters.append(line)
    yield Record(name, "".join(letters))


def _fastq(lines: Iterable[str]) -> Iterator[Record]:
    """FASTQ with any number of lines a sequence; begins anew at every header."""
    name, letters, qualities, after_plus = "", "", "", False

    def finished() -> Record:
        if after_plus and len(letters) == len(qualities):
            return Record(name, letters)
        return Record(name, wrong=f"{len(letters)} bases and {len(qualities)} qualities")

    for line, following in pairwise(chain(lines, [""])):
        # A quality line may begin with @ too, but a header follows it, not a sequence.
        complete = not after_plus or len(qualities) >= len(letters)
        sequence = following.isalpha() or (complete and not following.startswith(("@", "+")))
        if line.startswith("@") and sequence:
            if name:
                yield finished()
            name, letters, qualities, after_plus = _name(line), "", "", False
        elif not after_plus:
            after_plus = line.startswith("+")
            letters += "" if after_plus else line
        elif len(qualities) < len(letters):
            qualities += line
        elif line:
            yield Record(line[:20], wrong="a line between records")
    yield finished()


def _name(header: str) -> str:
    return (header[1:].split() or ["(no name)"])[0]
