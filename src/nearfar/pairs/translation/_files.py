"""Files of sentences: tables, aligned files, Parquet and plain lines, packed or not."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.pairs._walk import but, printable, walk

_DAMAGE = (OSError, EOFError, zlib.error)
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,8})?|\d+|source|target|src|tgt")
_WANTED = (
    "a TSV file, a Parquet file, two aligned files with a comma between them ('a.en,a.de'), the "
    "beginning that aligned files share ('corpus/train' for train.en and train.de), or a folder "
    "of these; each plain or .gz"
)


@dataclass(frozen=True)
class Corpus:
    """Rows of one source; a row's cells say the same in the languages of the columns.

    Attributes:
        name: Of the file, or what the files' names have in common.
        languages: Names of the columns.
        rows: As many cells as languages, none empty.
        skipped: What could not be read, each with the reason.
    """

    name: str
    languages: list[str]
    rows: list[tuple[str, ...]]
    skipped: dict[str, str] = field(default_factory=dict)


def read_corpora(path: str, languages: str | None = None) -> list[Corpus]:
    """Every corpus at a path.

    Args:
        path: See the error below.
        languages: Which columns, in which order: names (``en,de``), or a table's columns by number
            with the names that they get (``en:2,de:3``). By default a table's header names them
            all; without one the first two columns are taken, as ``1`` and ``2``.

    Raises:
        NearfarError: Nothing there can be read, or aligned files have not equally many lines.
    """
    left_out: dict[str, str] = {}
    corpora = [_read(group, languages) for group in _groups(path, left_out)]
    if not any(corpus.rows for corpus in corpora):
        skipped = {name: why for corpus in corpora for name, why in corpus.skipped.items()}
        raise NearfarError(
            f"path={path!r}: no sentences there{but(skipped | left_out)}. Wanted {_WANTED}."
        )
    corpora[0].skipped.update(left_out)
    return corpora


def lines(file: Path, skipped: dict[str, str]) -> Iterator[str | None]:
    """The lines of a file, streamed; None for one that is no UTF-8.

    Args:
        file: Plain or .gz; where it is damaged the lines before the damage are kept.
        skipped: Gets the reason for each line, or rest of a file, that cannot be read.
    """
    name = printable(file.name)
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                try:
                    yield raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    where = f"{name}, line {number}"
                    skipped[where] = f"{where}: no UTF-8"
                    yield None
    except _DAMAGE as error:
        skipped[name] = f"{name}: cannot be read to its end: {error}"


def _groups(path: str, skipped: dict[str, str]) -> list[list[Path]]:
    """Files that belong together: one table, or the files that are aligned line by line."""
    named = [Path(part.strip()) for part in path.split(",")]
    root = Path(path)
    if len(named) > 1:
        missing = [str(file) for file in named if not file.is_file()]
        if missing:
            raise NearfarError(f"path={path!r}: there is no file {missing[0]!r}. Wanted {_WANTED}.")
        return [named]
    if root.is_file():
        return [[root]]
    if root.is_dir():
        together: dict[Path, list[Path]] = {}
        for file in walk(root, lambda name: not name.startswith("."), skipped):
            together.setdefault(file if _is_table(file) else _bare(file), []).append(file)
        # A file alone that is no table (a README, a licence) is nobody's translation.
        return [files for files in together.values() if len(files) > 1 or _is_table(files[0])]
    aligned = sorted(f for f in root.parent.glob(f"{root.name}.*") if _bare(f) == root)
    if len(aligned) < 2:
        raise NearfarError(f"path={path!r}: no sentences there. Wanted {_WANTED}.")
    return [aligned]


def _read(files: Sequence[Path], languages: str | None) -> Corpus:
    if len(files) > 1:
        return _aligned(files, languages)
    if files[0].suffix == ".parquet":
        return _parquet(files[0], languages)
    return _table(files[0], languages)


def _aligned(files: Sequence[Path], languages: str | None) -> Corpus:
    names = [_plain(file).suffix.lstrip(".") or file.name for file in files]
    if languages is not None:
        wanted = _wanted(languages)
        files = [files[_column(name, names, files[0])] for name in wanted.values()]
        names = list(wanted)
    skipped: dict[str, str] = {}
    columns = [list(lines(file, skipped)) for file in files]
    counts = {len(column) for column in columns}
    if len(counts) > 1:
        said = ", ".join(f"{f.name} has {len(c):,}" for f, c in zip(files, columns, strict=True))
        raise NearfarError(
            f"Aligned files must have equally many lines, and {said}. Wanted line i of each file "
            "to be the translation of line i of the others."
        )
    name = printable(_bare(files[0]).name)
    rows = _rows(name, zip(*columns, strict=True), skipped, 1)
    return Corpus(name, names, rows, skipped)


def _table(file: Path, languages: str | None) -> Corpus:
    skipped: dict[str, str] = {}
    table = [None if line is None else line.split("\t") for line in lines(file, skipped)]
    first = next((row for row in table if row is not None), [])
    header = _header(first, languages)
    names = first if header else [str(number) for number in range(1, len(first) + 1)]
    if languages is None:
        chosen = {name: place for place, name in enumerate(names)}
        if not header:
            chosen = dict(list(chosen.items())[:2])
    else:
        chosen = {name: _column(column, names, file) for name, column in _wanted(languages).items()}
    most = max(chosen.values(), default=0)
    begin = 1 if header else 0
    cells = (
        [None] if row is None else [row[c] for c in chosen.values()] if len(row) > most else row
        for row in table[begin:]
    )
    name = printable(file.name)
    rows = _rows(name, cells, skipped, begin + 1, len(chosen))
    return Corpus(name, list(chosen), rows, skipped)


def _parquet(file: Path, languages: str | None) -> Corpus:
    import pyarrow as pa
    import pyarrow.parquet as pq

    name = printable(file.name)
    try:
        with file.open("rb") as stream:
            table = pq.read_table(stream).flatten()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        return Corpus(name, [], [], {name: f"{name}: no Parquet file: {reason}"})
    text = [
        place
        for place, kind in enumerate(table.schema.types)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind)
    ]
    names = [table.schema.names[place].rpartition(".")[2] for place in text]
    wanted = {name: name for name in names} if languages is None else _wanted(languages)
    places = [text[_column(column, names, file)] for column in wanted.values()]
    columns = [table.column(place).to_pylist() for place in places]
    skipped: dict[str, str] = {}
    rows = _rows(name, zip(*columns, strict=True), skipped, 1)
    return Corpus(name, list(wanted), rows, skipped)


def _rows(
    name: str,
    cells: Iterator[Sequence[str | None]],
    skipped: dict[str, str],
    first: int,
    width: int | None = None,
) -> list[tuple[str, ...]]:
    """Whole rows; an incomplete one is skipped and named by its line."""
    rows = []
    for number, row in enumerate(cells, first):
        texts = [" ".join(cell.split()) for cell in row if cell is not None]
        if len(texts) == len(row) and all(texts) and width in (None, len(row)):
            rows.append(tuple(texts))
        elif f"{name}, line {number}" not in skipped:
            where = f"{name}, line {number}"
            short = width is not None and len(texts) < width
            skipped[where] = f"{where}: {f'{len(texts)} column(s)' if short else 'an empty side'}"
    return rows


def _header(first: Sequence[str], languages: str | None) -> bool:
    """Whether a table's first line names its columns."""
    named = set(first) & {name for name in _wanted(languages).values() if not name.isdigit()}
    alike = len(set(first)) == len(first) > 1 and all(_LANGUAGE.fullmatch(name) for name in first)
    return bool(named) or alike


def _wanted(languages: str | None) -> dict[str, str]:
    """Name to column, from ``en,de`` or ``en:2,de:3``."""
    if languages is None:
        return {}
    parts = [part.strip().partition(":") for part in languages.split(",") if part.strip()]
    wanted = {name: column or name for name, _, column in parts}
    if not wanted:
        raise NearfarError(f"languages={languages!r}: wanted names such as 'en,de'.")
    return wanted


def _column(column: str, names: Sequence[str], file: Path) -> int:
    """The place of a column: its name, or its number from 1."""
    if column in names:
        return list(names).index(column)
    if column.isdigit() and 1 <= int(column) <= len(names):
        return int(column) - 1
    raise NearfarError(
        f"languages: {file.name} has no column {column!r}; it has {', '.join(names) or 'none'}. "
        "Wanted names of its columns ('en,de'), or names with their numbers ('en:2,de:3')."
    )


def _is_table(file: Path) -> bool:
    return file.suffix == ".parquet" or _plain(file).suffix == ".tsv"


def _plain(file: Path) -> Path:
    return file.with_suffix("") if file.suffix == ".gz" else file


def _bare(file: Path) -> Path:
    """Without the language at the end: what aligned files have in common."""
    return _plain(file).with_suffix("")
