"""Do sounds find the pictures that belong to them, and pictures the sounds?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._scores import Embed, Scores, Vectors


def _no_note() -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class CrossModal:
    """Sounds and pictures in one space.

    Attributes:
        sounds: N inputs.
        pictures: M inputs.
        sound_labels: A picture of the same label is a hit, where there are labels.
        picture_labels: Likewise.
        near: The rows of each sound's pictures and their times, where they were recorded together:
            a function, since clocks are found while training.
        baselines: Features that were fitted to training pairs, beside the reader's own.
        note: What to mind; asked for when the scores are made.
    """

    sounds: Sequence[Any]
    pictures: Sequence[Any]
    sound_labels: Sequence[str] | None = None
    picture_labels: Sequence[str] | None = None
    near: Callable[[], NDArray[np.bool_]] | None = None
    baselines: Mapping[str, Embed] = field(default_factory=dict)
    note: Callable[[], str] = _no_note

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """Mean average precision and R@k in both directions, and the animal by nearest pictures.

        Raises:
            NearfarError: There is nothing to find.
        """
        if not len(self.sounds) or not len(self.pictures):
            raise NearfarError(
                f"There are {len(self.sounds)} sounds and {len(self.pictures)} pictures to judge "
                "by; wanted some of both."
            )
        labelled = self.sound_labels is not None and self.picture_labels is not None
        together = None if self.near is None else self.near()
        rows = {}
        for name, embed in {**features, **self.baselines}.items():
            cosine = _unit(embed(self.sounds)) @ _unit(embed(self.pictures)).T
            rows[name] = (self._labelled(cosine) if labelled else {}) | _moments(cosine, together)
        measures: dict[str, str] = {}
        note = []
        if labelled:
            measures |= {
                "map": "mAP",
                "r1": "R@1",
                "r10": "R@10",
                "map_back": "mAP back",
                "r1_back": "R@1 back",
                "r10_back": "R@10 back",
                "which": "which",
            }
            classes = len(set(self.sound_labels or ()))
            note.append(
                f"from sounds to pictures, and back; what is of the class is a hit; means over "
                f"{classes} classes; chance of mAP and R@1 about {1 / classes:.3f}. Which: the "
                "class that most of the ten nearest pictures have"
            )
        if together is not None and together.any():
            measures |= {"moment10": "its time"}
            share = together[together.any(1)].mean()
            note.append(
                "Its time: a picture within the window of its time is among the ten nearest; "
                f"chance about {1 - (1 - share) ** 10:.3f}"
            )
        return Scores(
            title=f"{len(self.sounds):,} sounds and {len(self.pictures):,} pictures",
            measures=measures,
            rows=rows,
            note=". ".join([*note, *filter(None, [self.note()])]),
        )

    def _labelled(self, cosine: Vectors) -> dict[str, float]:
        heard, seen = np.array(self.sound_labels), np.array(self.picture_labels)
        same = heard[:, None] == seen
        out = {"map": macro(average_precision(cosine, same), heard)}
        out["map_back"] = macro(average_precision(cosine.T, same.T), seen)
        for k in (1, 5, 10):
            out[f"r{k}"] = macro(found(cosine, same, k), heard)
            out[f"r{k}_back"] = macro(found(cosine.T, same.T, k), seen)
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :10]
        classes = np.unique(seen)
        votes = (seen[nearest][..., None] == classes).sum(1) + 1e-3 * np.stack(
            [cosine[:, seen == one].mean(1) for one in classes], 1
        )
        out["which"] = macro((classes[votes.argmax(1)] == heard).astype(float), heard)
        return out


def average_precision(cosine: Vectors, same: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) average precision of each row's ranking; nan where a row has nothing to find."""
    order = np.argsort(-cosine, axis=1, kind="stable")
    hit = np.take_along_axis(same, order, 1)
    precision = hit.cumsum(1) / np.arange(1, hit.shape[1] + 1)
    with np.errstate(invalid="ignore"):
        out: NDArray[np.float64] = (precision * hit).sum(1) / hit.sum(1)
    return out


def found(cosine: Vectors, same: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """(N,) 1 where something to find is among the ``k`` nearest; nan where there is nothing."""
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
    hit = np.take_along_axis(same, order, 1).any(1).astype(np.float64)
    return np.where(same.any(1), hit, np.nan)


def macro(values: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """The mean over labels of their rows' means; rows without a value do not count."""
    each = [np.nanmean(values[labels == one]) for one in np.unique(labels[~np.isnan(values)])]
    return float(np.mean(each))


def _moments(cosine: Vectors, together: NDArray[np.bool_] | None) -> dict[str, float]:
    if together is None or not together.any():
        return {}
    return {"moment10": float(np.nanmean(found(cosine, together, 10)))}


def _unit(x: Vectors) -> Vectors:
    out: Vectors = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return out
