"""Sentences for docs/translation.md: what is learned from, tuned on and judged by."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

from nearfar.pairs.translation import Bitext, Fakes, different, shuffled_words, swapped_words

Sides = tuple[list[str], list[str]]
NAMES = {"de": ("eng", "deu"), "fr": ("eng", "fra")}


class Data:
    """The data sets of one language pair, English first.

    Args:
        folder: With ``multi30k`` (task 1 and ``task2``), ``tatoeba_test``, ``tatoeba_train``,
            ``software_strings`` and ``freedict``.
        other: The second language, ``de`` or ``fr``.
    """

    def __init__(self, folder: Path, other: str = "de") -> None:
        self.folder, self.other = folder, other

    @property
    def train(self) -> str:
        """Multi30k's training pairs, as ``nearfar train translation`` takes them."""
        return str(self.folder / "multi30k" / "train")

    @property
    def exclude(self) -> str:
        """All that is tuned on or judged by."""
        files = [f"multi30k/{n}" for n in ("val", "test_2016_flickr", "test_2017_flickr")]
        files += ["multi30k/test_2017_mscoco", "multi30k/test_2018_flickr"]
        files += ["tatoeba_test/tatoeba.deu-eng", "tatoeba_test/tatoeba.fra-eng"]
        return "+".join(str(self.folder / file) for file in files)

    def pairs(self, name: str) -> Sides:
        """Multi30k's ``val``, ``test_2016_flickr``, ...: English and the other, nothing twice."""
        path = str(self.folder / "multi30k" / name)
        found, _ = Bitext.read(path, f"en,{self.other}")
        return different(found).sides()["en", self.other]

    def tatoeba(self) -> Sides:
        """Tatoeba's test pairs."""
        one, two = NAMES[self.other]
        path = str(self.folder / "tatoeba_test" / f"tatoeba.{two}-{one}")
        return different(Bitext.read(path, f"{one},{two}")[0]).sides()[one, two]

    def pool(self, judged: Sides) -> Sides:
        """Multi30k's training sentences of both languages, without those that are judged."""
        found, _ = Bitext.read(self.train, f"en,{self.other}")
        clear = found.only(found.apart_from([*judged[0], *judged[1]]))
        left, right = clear.sides()["en", self.other]
        return list(dict.fromkeys(left)), list(dict.fromkeys(right))

    def comparable(self, begin: int, end: int) -> Sides:
        """English and other-language descriptions of the same pictures, written independently."""
        sides = []
        for number, language in ((1, "en"), (2, self.other)):
            file = self.folder / "multi30k" / "task2" / f"train.{number}.{language}.gz"
            sides.append([" ".join(line.split()) for line in _lines(file)[begin:end]])
        return sides[0], sides[1]

    def fakes(self) -> dict[str, tuple[Fakes, Fakes]]:
        """Word order, numbers and colours of Multi30k 2016, negations of Tatoeba.

        Returns:
            What is changed to fakes of the other language, and of English.
        """
        photos, phrases = self.pairs("test_2016_flickr"), self.tatoeba()
        found = {"word order": (shuffled_words(*photos), shuffled_words(*photos[::-1]))}
        for name, sides in (("number", photos), ("colour", photos), ("negation", phrases)):
            there = swapped_words(*sides, self.other)
            back = swapped_words(*sides[::-1], "en")
            found[name] = there[name], back[name]
        return found

    def dictionary(self) -> dict[str, list[str]]:
        """English words to their translations, in the order of the dictionary."""
        file = self.folder / "freedict" / f"eng-{NAMES[self.other][1]}.tsv.gz"
        found: dict[str, list[str]] = {}
        for line in _lines(file):
            head, _, word = line.partition("\t")
            found.setdefault(head.lower(), []).append(word.lower())
        return found


def write_pairs(path: Path, languages: Sequence[str], *columns: Sequence[str]) -> Path:
    """A TSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ["\t".join(languages), *("\t".join(row) for row in zip(*columns, strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _lines(file: Path) -> list[str]:
    with gzip.open(file, "rt", encoding="utf-8") as text:
        return [line.rstrip("\n") for line in text]
