"""Sentences with the rows that say which of them mean the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.translation._files import Corpus, read_corpora


@dataclass(frozen=True)
class Bitext(Sequence[str]):
    """Sentences, one behind another; those of one row are translations of each other.

    Attributes:
        texts: N sentences.
        rows: (N,) numbers from 0, rising: the row that each sentence is of.
        languages: N names.
    """

    texts: list[str]
    rows: NDArray[np.int64]
    languages: list[str]

    @classmethod
    def of(cls, corpora: Iterable[Corpus]) -> Bitext:
        """The rows of several corpora behind each other."""
        texts: list[str] = []
        rows: list[int] = []
        languages: list[str] = []
        row = 0
        for corpus in corpora:
            for cells in corpus.rows:
                texts += cells
                languages += corpus.languages
                rows += [row] * len(cells)
                row += 1
        return cls(texts, np.array(rows, dtype=np.int64), languages)

    @classmethod
    def read(cls, path: str, languages: str | None = None) -> tuple[Bitext, dict[str, str]]:
        """All that lies at a path, and what could not be read; see `read_corpora`."""
        corpora = read_corpora(path, languages)
        skipped: dict[str, str] = {}
        for corpus in corpora:
            skipped |= corpus.skipped
        return cls.of(corpora), skipped

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        return self.texts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    @property
    def fingerprint(self) -> str:
        """Of all sentences and who belongs together."""
        digest = hashlib.sha256(self.rows.tobytes())
        for text in self.texts:
            digest.update(text.encode() + b"\n")
        return digest.hexdigest()[:16]

    @property
    def height(self) -> int:
        """The number of rows."""
        return int(self.rows[-1]) + 1 if len(self.rows) else 0

    def only(self, keep: NDArray[np.bool_]) -> Bitext:
        """The rows for which ``keep``, (rows,) booleans, holds; numbered anew."""
        inside = keep[self.rows]
        chosen = np.flatnonzero(inside)
        return Bitext(
            [self.texts[place] for place in chosen],
            np.unique(self.rows[inside], return_inverse=True)[1].astype(np.int64),
            [self.languages[place] for place in chosen],
        )

    def groups(self) -> NDArray[np.int64]:
        """(rows,) equal where rows share a sentence, directly or through other rows.

        "Go." is "Geh." in one row and "Los." in another: then "Geh." and "Los." are no negatives of
        each other. Sentences are compared as `normalised` gives them.
        """
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        _, node = np.unique([normalised(text) for text in self.texts], return_inverse=True)
        size = self.height + int(node.max(initial=-1)) + 1
        edges = (np.ones(len(node), dtype=np.int8), (self.rows, node + self.height))
        graph = coo_array(edges, shape=(size, size))
        labels: NDArray[np.int64] = connected_components(graph, directed=False)[1]
        return labels[: self.height].astype(np.int64)

    def apart_from(self, other: Iterable[str]) -> NDArray[np.bool_]:
        """(rows,) whether a row shares no sentence with the others (`normalised`)."""
        taken = {normalised(text) for text in other}
        clear = np.ones(self.height, dtype=bool)
        shared = [place for place, text in enumerate(self.texts) if normalised(text) in taken]
        clear[self.rows[shared]] = False
        return clear

    def sides(self) -> dict[tuple[str, str], tuple[list[str], list[str]]]:
        """For each two languages, the sentences of both, row by row, where a row has both."""
        at: dict[tuple[str, int], str] = {}
        for text, row, language in zip(self.texts, self.rows.tolist(), self.languages, strict=True):
            at.setdefault((language, row), text)
        names = list(dict.fromkeys(self.languages))
        found = {}
        for place, one in enumerate(names):
            for two in names[place + 1 :]:
                both = [row for row in range(self.height) if (one, row) in at and (two, row) in at]
                if both:
                    found[one, two] = ([at[one, r] for r in both], [at[two, r] for r in both])
        return found


def normalised(text: str) -> str:
    """What two spellings of one sentence have in common: letters and digits, without their case.

    Example:
        >>> normalised("«Où est-il ?»") == normalised("où est il?")
        True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(re.findall(r"\w+", folded))
    # A sentence of signs alone is compared as it is.
    return words or folded


def two_or_more(bitext: Bitext) -> Bitext:
    """Only rows of two sentences or more.

    Raises:
        NearfarError: Fewer than two such rows that differ.
    """
    counts = np.bincount(bitext.rows, minlength=bitext.height)
    found = bitext.only(counts > 1)
    different = len(set(found.groups().tolist())) if len(found) else 0
    if different < 2:
        raise NearfarError(
            f"The data hold {found.height} row(s) with a translation, {different} of them "
            "different. Wanted 2 or more: every query needs a negative to be told from."
        )
    return found
