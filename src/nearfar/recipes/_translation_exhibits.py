"""What a report shows of sentences: examples that were not learned from, and hidden words."""

from __future__ import annotations

import numpy as np

from nearfar.encoders import TextTransformer
from nearfar.experiment import Auxiliary, Exhibit
from nearfar.model import Model
from nearfar.pairs import seeded
from nearfar.pairs.translation import Bitext, SentenceReader
from nearfar.probes import Margin
from nearfar.recipes._translation_words import MaskedWords

_SHOWN = 6


def exhibits(
    judged: Bitext | None, reader: SentenceReader, words: Auxiliary | None, model: Model
) -> list[Exhibit]:
    """Mined translations, mistakes first, and how many hidden subwords are guessed.

    Args:
        judged: Rows that were not learned from.
        reader: The model's.
        words: The objective that guesses, after training.
        model: After training.
    """
    if judged is None:
        return []
    found = [
        _mistakes(model, *names, *sides)
        for names, sides in judged.sides().items()
        if len(sides[0]) > 1
    ]
    if isinstance(words, MaskedWords) and isinstance(model.encoder, TextTransformer):
        with seeded(0):
            right, commonest = words.accuracy(model.encoder, reader.tokens(judged.texts))
        found.append(
            Exhibit(
                title="Hidden words",
                text=f"Of 15 % of the subwords of sentences that were not learned from, "
                f"{right:.1%} are guessed; always the commonest subword would be {commonest:.1%}.",
            )
        )
    return found


def _mistakes(model: Model, one: str, two: str, left: list[str], right: list[str]) -> Exhibit:
    vectors = Margin.of(model.embed(left), model.embed(right))
    best = np.concatenate([margin.argmax(1) for _, _, margin in vectors.scores()])
    wrong = [row for row, found in enumerate(best.tolist()) if found != row]
    lines = [f"“{left[row]}” finds “{right[best[row]]}”, not “{right[row]}”." for row in wrong]
    return Exhibit(
        title=f"What is not found, {one} to {two}",
        text=f"Held-out sentences whose nearest (ratio margin) is not their translation: "
        f"{len(wrong)} of {len(left)}. {' '.join(lines[:_SHOWN])}",
    )
