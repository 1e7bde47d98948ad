"""Does a sentence find its translation, and tell it from a fake?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._bitext_margin import Margin
from nearfar.probes._scores import Embed, Scores, Vectors

# Row by row a sentence, its translation, and a fake of the translation.
Triples = tuple[Sequence[str], Sequence[str], Sequence[str]]
Sides = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class BitextProbe:
    """Translations to find, to mine and to tell from fakes.

    Attributes:
        sides: Two languages to sentences of both, row i the translation of row i; no row twice.
        pool: Language to further sentences among which a translation must be found.
        tuning: Other pairs of the first two languages, on which the threshold of mining is chosen.
        fakes: What was changed, to triples.
    """

    sides: Mapping[tuple[str, str], Sides]
    pool: Mapping[str, Sequence[str]] = field(default_factory=dict)
    tuning: Sides | None = None
    fakes: Mapping[str, Triples] = field(default_factory=dict)

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Retrieval both ways by cosine and by margin, mining, and true against fake.

        Raises:
            NearfarError: Nothing to judge by.
        """
        if not self.sides:
            raise NearfarError("There are no translations to judge by; wanted two languages.")
        measures: dict[str, str] = {}
        for one, two in self.sides:
            for a, b in ((one, two), (two, one)):
                measures |= {f"{a}-{b}": f"{a} to {b}", f"{a}-{b}-margin": f"{a} to {b} margin"}
        if self.tuning is not None:
            measures["mining"] = "mining F1"
        measures |= {name: f"true > {name}" for name in self.fakes}
        rows = {name: self._judge(embed) for name, embed in features.items()}
        one, two = next(iter(self.sides))
        count = len(self.sides[one, two][0])
        note = ", ".join(f"{len(f[0]):,} {name}" for name, f in self.fakes.items())
        return Scores(
            title=f"{count:,} sentences to find among {count + len(self.pool.get(two, ())):,}",
            measures=measures,
            rows=rows,
            note=f"R@1 by cosine and by ratio margin; chance {1 / count:.4f}. Mining: half of "
            "the sentences of each side have a translation on the other; its threshold is chosen "
            f"on other pairs. Fakes: {note or 'none'}; chance 0.5, equal scores count as wrong.",
        )

    def _judge(self, embed: Embed) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, ((one, two), (left, right)) in enumerate(self.sides.items()):
            a, b = embed(left), embed(right)
            for x, y, names in ((a, b, (one, two)), (b, a, (two, one))):
                more = self.pool.get(names[1], ())
                wide = np.concatenate([y, embed(more)]) if len(more) else y
                key = "-".join(names)
                found[key], found[f"{key}-margin"] = first_hits(x, wide)
            if number == 0 and self.tuning is not None:
                threshold = best_threshold(*thirds(*(embed(side) for side in self.tuning)))
                found["mining"] = mining(*thirds(a, b), threshold)["f1"]
        for name, triples in self.fakes.items():
            found[name] = truths_ahead(*(embed(texts) for texts in triples))
        return found


def first_hits(queries: Vectors, gallery: Vectors) -> tuple[float, float]:
    """Share of queries whose best of the gallery is the row of their own number.

    Returns:
        By cosine, and by ratio margin over the whole gallery.
    """
    near = far = 0
    for rows, cosine, margin in Margin.of(queries, gallery).scores():
        own = np.arange(len(queries))[rows]
        near += int((cosine.argmax(1) == own).sum())
        far += int((margin.argmax(1) == own).sum())
    return near / len(queries), far / len(queries)


def thirds(left: Vectors, right: Vectors) -> tuple[Vectors, Vectors, NDArray[np.int64]]:
    """A third of the pairs stays whole, one loses its right side and one its left.

    Returns:
        Vectors of the left, of the right, and the (2, gold) rows of the pairs that stayed.
    """
    third = max(1, len(left) // 3)
    rows = np.arange(third)
    return (
        left[: 2 * third],
        np.concatenate([right[:third], right[2 * third :]]),
        np.stack([rows, rows]),
    )


def mining(
    left: Vectors, right: Vectors, gold: NDArray[np.int64], threshold: float
) -> dict[str, float]:
    """Precision, recall and F1 of the pairs whose margin is at least the threshold.

    Args:
        left: (N, D).
        right: (M, D).
        gold: (2, G) rows of true pairs.
        threshold: See `best_threshold`.
    """
    one, two, margin = Margin.of(left, right).candidates()
    kept = margin >= threshold
    true = set(zip(gold[0].tolist(), gold[1].tolist(), strict=True))
    hits = sum(pair in true for pair in zip(one[kept].tolist(), two[kept].tolist(), strict=True))
    precision, recall = hits / max(1, int(kept.sum())), hits / max(1, gold.shape[1])
    f1 = 2 * hits / max(1, int(kept.sum()) + gold.shape[1])
    return {"precision": precision, "recall": recall, "f1": f1}


def best_threshold(left: Vectors, right: Vectors, gold: NDArray[np.int64]) -> float:
    """The margin from which on mined pairs have the best F1, on pairs that are not judged."""
    one, two, margin = Margin.of(left, right).candidates()
    true = set(zip(gold[0].tolist(), gold[1].tolist(), strict=True))
    right_ones = np.array(
        [pair in true for pair in zip(one.tolist(), two.tolist(), strict=True)], dtype=bool
    )
    f1 = 2 * right_ones.cumsum() / (np.arange(1, len(one) + 1) + gold.shape[1])
    best = int(f1.argmax())
    # Half way to the first pair that is left out.
    after = margin[min(best + 1, len(margin) - 1)]
    return float((margin[best] + after) / 2)


def truths_ahead(queries: Vectors, truths: Vectors, fakes: Vectors) -> float:
    """Share of queries that are nearer to their translation than to its fake."""
    queries, truths, fakes = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        for x in (queries, truths, fakes)
    )
    # Sums in another order differ in the last digit; that is no opinion.
    return float(((queries * truths).sum(1) > (queries * fakes).sum(1) + 1e-6).mean())
