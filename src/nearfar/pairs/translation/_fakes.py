"""Sentences that are nearly the translation: words in another order, another number or colour."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What a translation must not change. Forms that agree in gender and number are kept apart, so that
# a swapped sentence stays grammatical as far as a table can see to that.
_NUMBERS = {
    "en": [["two", "three", "four", "five", "six"]],
    "de": [["zwei", "drei", "vier", "fünf", "sechs"]],
    "fr": [["deux", "trois", "quatre", "cinq", "six"]],
}
_COLOURS = {
    "en": [["red", "blue", "green", "yellow", "white", "black", "brown", "orange"]],
    "de": [
        [f"{stem}{end}" for stem in ("rot", "blau", "grün", "gelb", "weiß", "schwarz", "braun")]
        for end in ("", "e", "en", "em", "er", "es")
    ],
    "fr": [
        ["rouge", "jaune"],
        ["bleu", "vert", "blanc", "noir"],
        ["bleue", "verte", "blanche", "noire"],
        ["bleus", "verts", "blancs", "noirs"],
        ["bleues", "vertes", "blanches", "noires"],
        ["rouges", "jaunes"],
    ],
}
# What says no, and what is left without it.
_NEGATIONS = {
    "en": [(r"\b(do|does|did) (not|n't) ", ""), (r"(?<=\w)n't\b", ""), (r"\bnot ", "")],
    "de": [(r"\bnicht ", ""), (r" nicht\b", ""), (r"\bkein", "ein")],
    "fr": [(r"\b(ne |n')(.+?) pas\b", r"\2"), (r"\b(N'|Ne )(.+?) pas\b", r"\2")],
}
_NAMES = {"eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr"}


@dataclass(frozen=True)
class Fakes:
    """Row by row: a sentence, its translation, and a fake of the translation.

    Attributes:
        queries: N sentences.
        truths: Their translations.
        fakes: The translations, changed.
    """

    queries: list[str]
    truths: list[str]
    fakes: list[str]


def shuffled_words(queries: Sequence[str], truths: Sequence[str]) -> Fakes:
    """The translation's words in another order; the stop stays at the end, where it tells nothing.

    Sentences of fewer than four different words are left out.
    """
    draw, kept = random.Random(0), Fakes([], [], [])
    for query, truth in zip(queries, truths, strict=True):
        match = re.fullmatch(r"(.*?)(\s*[.!?…]*)", truth, re.DOTALL)
        words = match[1].split() if match else []
        if match and len(set(words)) >= 4:
            other = words
            while other == words:
                other = draw.sample(words, len(words))
            _add(kept, query, truth, " ".join(other) + match[2])
    return kept


def swapped_words(queries: Sequence[str], truths: Sequence[str], language: str) -> dict[str, Fakes]:
    """Another number, another colour, or no negation, where the translation has one.

    Args:
        queries: N sentences.
        truths: Their translations.
        language: Of the translations; English, German and French are known (``en`` or ``eng``).

    Returns:
        What is swapped to the fakes; only the sentences that have it.
    """
    code = _NAMES.get(language, language)
    if code not in _NUMBERS:
        return {}
    draw = random.Random(0)
    found = {name: Fakes([], [], []) for name in ("number", "colour", "negation")}
    for query, truth in zip(queries, truths, strict=True):
        for name, groups in (("number", _NUMBERS[code]), ("colour", _COLOURS[code])):
            fake = _swap(truth, groups, draw)
            if fake != truth:
                _add(found[name], query, truth, fake)
        fake = _without_negation(truth, code)
        if fake != truth:
            _add(found["negation"], query, truth, fake)
    return {name: fakes for name, fakes in found.items() if fakes.queries}


def shuffled(x: Tensor, starts: Tensor, letters: Tensor, pad: int) -> Tensor:
    """Subwords with the order of their words drawn anew, from torch's random state.

    Args:
        x: (N, L) subwords, padding behind.
        starts: (vocabulary,) whether a subword begins a word; words stay whole.
        letters: (vocabulary,) whether it has a letter; a last one without (a stop) stays the last.
        pad: The padding.

    Returns:
        (N, L)
    """
    starts, letters = starts.to(x.device), letters.to(x.device)
    word = starts[x].long().cumsum(1)
    place = torch.rand(len(x), x.shape[1] + 1, device=x.device).gather(1, word)
    inside = x != pad
    last = torch.arange(x.shape[1], device=x.device) == inside.sum(1, keepdim=True) - 1
    place = place.masked_fill(last & ~letters[x], 2.0).masked_fill(~inside, 3.0)
    return x.gather(1, place.argsort(dim=1, stable=True))


def _add(fakes: Fakes, query: str, truth: str, fake: str) -> None:
    fakes.queries.append(query)
    fakes.truths.append(truth)
    fakes.fakes.append(fake)


def _swap(text: str, groups: Sequence[Sequence[str]], draw: random.Random) -> str:
    """The first word of a group becomes another one of it."""
    for group in groups:
        match = re.search(rf"\b({'|'.join(group)})\b", text, re.IGNORECASE)
        if match:
            other = draw.choice([word for word in group if word != match[0].lower()])
            other = other.capitalize() if match[0][0].isupper() else other
            return text[: match.start()] + other + text[match.end() :]
    return text


def _without_negation(text: str, code: str) -> str:
    for pattern, rest in _NEGATIONS[code]:
        changed = re.sub(pattern, rest, text, count=1)
        if changed != text:
            return changed
    return text
