"""Every figure of one kind of features: retrieval, a large pool, mining, fakes."""

from __future__ import annotations

import numpy as np
from translation_data import Data, Sides

from nearfar.probes import Embed, Margin, best_threshold, mining
from nearfar.probes._bitext import first_hits, truths_ahead


def figures(english: Embed, other: Embed, data: Data, *, full: bool = True) -> dict[str, float]:
    """Percent; F1 as it is.

    Args:
        english: English sentences to vectors.
        other: Sentences of the other language to vectors.
        data: What is judged by.
        full: Also the large pool and mining, which take a minute.
    """
    found: dict[str, float] = {}

    def retrieval(name: str, sides: Sides, pool: Sides | None = None) -> None:
        a, b = english(sides[0]), other(sides[1])
        wide = (a, b) if pool is None else (_with(english, a, pool[0]), _with(other, b, pool[1]))
        for direction, queries, gallery in (("there", a, wide[1]), ("back", b, wide[0])):
            cosine, margin = first_hits(queries, gallery)
            found[f"{name} {direction}"] = 100 * cosine
            found[f"{name} {direction} margin"] = 100 * margin

    for name in ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco"):
        retrieval(name, data.pairs(name))
    retrieval("tatoeba", data.tatoeba())
    for name, (there, back) in data.fakes().items():
        ways = ((there, english, other), (back, other, english))
        shares = [
            truths_ahead(one(fakes.queries), two(fakes.truths), two(fakes.fakes))
            for fakes, one, two in ways
        ]
        found[name] = 100 * float(
            np.average(shares, weights=[len(fakes.queries) for fakes, _, _ in ways])
        )
    if full:
        judged = data.pairs("test_2016_flickr")
        retrieval("pool", judged, data.pool(judged))
        if data.other == "de":
            found |= mined(english, other, data)
    return found


def mined(english: Embed, other: Embed, data: Data) -> dict[str, float]:
    """F1 of gold pairs among 11,000 x 11,000 sentences; the thresholds are validation's.

    The 10,000 distractors of each side describe the same pictures, so they are close to a
    translation of each other and are none.
    """
    found: dict[str, float] = {}
    sides = {}
    for name, split, begin in (("tuning", "val", 10_000), ("test", "test_2016_flickr", 0)):
        left, right = data.pairs(split)
        more = data.comparable(begin, begin + 10_000)
        gold = np.stack([np.arange(len(left))] * 2)
        sides[name] = (english([*left, *more[0]]), other([*right, *more[1]]), gold)
    threshold = best_threshold(*sides["tuning"])
    test = mining(*sides["test"], threshold)
    best = best_threshold(*sides["test"])
    found["mining F1"] = test["f1"]
    found["mining F1, validation"] = mining(*sides["tuning"], threshold)["f1"]
    found["mining precision"], found["mining recall"] = test["precision"], test["recall"]
    found["mining threshold"] = threshold
    found["mining F1, threshold of the test"] = mining(*sides["test"], best)["f1"]
    found["mining F1, cosine"] = _by_cosine(sides["tuning"], sides["test"])
    return found


def _by_cosine(tuning: tuple, test: tuple) -> float:  # type: ignore[type-arg]
    """The same game with the plain cosine: margins measured against nothing."""
    plain = []
    for left, right, gold in (tuning, test):
        flat = Margin.of(left, right)
        ones = np.ones(len(left), np.float32), np.ones(len(right), np.float32)
        one, two, score = Margin(flat.left, flat.right, *ones).candidates()
        true = (one == two) & (one < gold.shape[1])
        plain.append((true, score, gold.shape[1]))
    true, score, count = plain[0]
    best = int((2 * true.cumsum() / (np.arange(1, len(true) + 1) + count)).argmax())
    true, found, count = plain[1]
    kept = found >= score[best]
    return float(2 * true[kept].sum() / (kept.sum() + count))


def _with(embed: Embed, vectors: np.ndarray, more: list[str]) -> np.ndarray:
    return np.concatenate([vectors, embed(more)])
