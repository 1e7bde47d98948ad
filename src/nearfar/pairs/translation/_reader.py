"""Sentences, or files of them, to padded batches of subwords."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.translation._bitext import Bitext
from nearfar.pairs.translation._fakes import Fakes, shuffled_words, swapped_words
from nearfar.pairs.translation._tokenizer import open_tokenizer, special
from nearfar.pairs.translation._tokens import Tokens
from nearfar.probes import BitextProbe, Embed, Probe, Triples, Vectors

# Rows of a path that an evaluation looks at, at most.
_JUDGED = 4000


class SentenceReader(Reader):
    """Cuts sentences into subwords.

    Args:
        tokenizer: The JSON of a Hugging Face tokenizer, kept with the model: nothing else is needed
            to load it.
        longest: Of a longer sentence, the first subwords are read, this many.

    Raises:
        NearfarError: No tokenizer, or one without padding; ``longest`` below one.

    Example:
        >>> from nearfar.pairs.translation import train_tokenizer
        >>> reader = SentenceReader(train_tokenizer(["so so", "no no"], 20))
        >>> reader.read(["so no", "no"]).shape
        torch.Size([2, 2])
    """

    batch_size = 1024
    example = "'A sentence.'"

    def __init__(self, tokenizer: str, longest: int = 48) -> None:
        if longest < 1:
            raise NearfarError(f"longest={longest}: wanted a number of subwords, 1 or more.")
        self.settings = {"tokenizer": tokenizer, "longest": longest}
        self.tokenizer = open_tokenizer(tokenizer, longest)
        self.pad = special(self.tokenizer, "padding")

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """The subwords of sentences, packed."""
        return Tokens.of(self.tokenizer, texts, self.pad)

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, L) int64 subwords, padding behind each sentence.

        Raises:
            NearfarError: An input that is no string.
        """
        for item in inputs:
            if not isinstance(item, str):
                raise NearfarError(f"{str(item)[:40]!r} is no sentence; wanted a string.")
        return self.tokens(inputs).padded()

    def prepare(self, batch: Tensor) -> Tensor:
        """As they are."""
        return batch

    def find(self, path: str) -> Inputs:
        """Every sentence at a path: lines of text, or pairs in any of `read_corpora`'s forms."""
        bitext, skipped = Bitext.read(path)
        return Inputs(bitext.texts, bitext, None, skipped)

    def baselines(self) -> dict[str, Embed]:
        """Which pieces of three to five letters a sentence holds: names and cognates match."""
        return {"character n-grams": character_ngrams}

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """Can a sentence find its translation, tell it from a fake, and be mined for.

        Of more than 4,000 rows, 4,000 are judged, evenly from all.

        Args:
            found: Pairs; the threshold for mining is chosen on them.
            test: Other pairs, which all figures are about; by default half of the first.
        """
        parts = [inputs.items for inputs in (found, test) if inputs is not None]
        chosen = [_some(different(part)) for part in parts if isinstance(part, Bitext)]
        if len(chosen) < len(parts):
            return None
        tuning, judged = chosen if len(chosen) == 2 else halves(chosen[0])
        return bitext_probe(tuning, judged)


def bitext_probe(
    tuning: Bitext, judged: Bitext, pool: Bitext | None = None, most: int = 5000
) -> BitextProbe | None:
    """What translations are judged by.

    Args:
        tuning: Pairs on which the threshold for mining is chosen.
        judged: Pairs that the figures are about; `different` ones.
        pool: More sentences among which a translation must be found.
        most: Of each language in the pool, at most this many.

    Returns:
        None where no two languages share two rows.
    """
    sides = {names: both for names, both in judged.sides().items() if len(both[0]) > 1}
    if not sides:
        return None
    tuned = tuning.sides()
    extra: dict[str, list[str]] = {}
    if pool is not None:
        clear = pool.only(pool.apart_from(judged.texts))
        for language in dict.fromkeys(clear.languages):
            spoken = (
                text for text, own in zip(clear.texts, clear.languages, strict=True)
                if own == language
            )  # fmt: skip
            extra[language] = list(islice(dict.fromkeys(spoken), most))
    fakes: dict[str, Triples] = {}
    for (one, two), (left, right) in sides.items():
        _gather(fakes, {"word order": shuffled_words(left, right)})
        _gather(fakes, {"word order": shuffled_words(right, left)})
        _gather(fakes, swapped_words(left, right, two))
        _gather(fakes, swapped_words(right, left, one))
    first = next(iter(sides))
    return BitextProbe(sides=sides, pool=extra, tuning=tuned.get(first), fakes=fakes)


def different(bitext: Bitext) -> Bitext:
    """The first row of each group: a set to judge by holds nothing twice."""
    groups = bitext.groups()
    keep = np.zeros(bitext.height, dtype=bool)
    keep[np.unique(groups, return_index=True)[1]] = True
    return bitext.only(keep)


def halves(bitext: Bitext) -> tuple[Bitext, Bitext]:
    """Every other row: to choose a threshold on, and to judge by."""
    first = np.arange(bitext.height) % 2 == 0
    return bitext.only(first), bitext.only(~first)


def character_ngrams(inputs: Sequence[str]) -> Vectors:
    """(N, 4096) counts of three to five letters inside words, hashed, unit length."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=4096, dtype=np.float32
    )
    dense: Vectors = hashed.transform(list(inputs)).toarray()
    return dense


def _some(bitext: Bitext) -> Bitext:
    """At most as many rows as a laptop judges in a minute, evenly from all."""
    places = np.linspace(0, bitext.height - 1, min(bitext.height, _JUDGED)).round().astype(int)
    return bitext.only(np.isin(np.arange(bitext.height), places))


def _gather(fakes: dict[str, Triples], more: dict[str, Fakes]) -> None:
    for name, each in more.items():
        queries, truths, changed = fakes.get(name, ([], [], []))
        fakes[name] = (
            [*queries, *each.queries], [*truths, *each.truths], [*changed, *each.fakes],
        )  # fmt: skip
