"""Pairs of pictures whose correspondence is known: from files, or by warping."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nearfar.errors import NearfarError
from nearfar.pairs.pixels._annotations import KnownFlow
from nearfar.pairs.pixels._clips import Film, PairClip
from nearfar.pairs.pixels._flow import sample
from nearfar.probes import KnownPair

EACH = 500  # Places of a pair.


def flow_pair(known: KnownFlow) -> tuple[PairClip, KnownPair]:
    """Up to 500 random places of a known flow, those that stay in the picture."""
    clip = PairClip(known.name, [known.first, known.second])
    if clip.shape != known.flow.shape[:2]:
        raise NearfarError(f"{known.name}: flow of {known.flow.shape[:2]}, pictures {clip.shape}.")
    height, width = clip.shape
    y, x = np.mgrid[:height, :width]
    there = np.stack([x, y], -1) + known.flow
    inside = known.valid & (there >= 0).all(2) & (there < [width, height]).all(2)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(inside))[:EACH]
    points = np.column_stack([x.flat[rows], y.flat[rows]])
    truth = there.reshape(-1, 2)[rows].astype(np.float32)
    return clip, KnownPair(clip, points.astype(np.float32), truth)


def warped_pairs(films: Sequence[Film], most: int = 12) -> list[KnownPair]:
    """Frames and random smooth warps of them, evenly spaced over all films.

    Args:
        films: Where to take them from.
        most: How many.
    """
    import cv2

    rng = np.random.default_rng(0)
    frames = [(film, number) for film in films for number in range(len(film))]
    chosen = np.unique(np.linspace(0, len(frames) - 1, most).round().astype(int))
    out = []
    for row in chosen.tolist():
        film, number = frames[row]
        picture = film.at(number)
        height, width = picture.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        coarse = rng.normal(0, 0.04 * min(height, width), (4, 4, 2)).astype(np.float32)
        bend = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        # The second picture shows, at q, what the first has at q + bend(q).
        source = np.stack([x, y], -1) + bend
        gain = rng.uniform(0.7, 1.3, 3)
        shown = cv2.remap(
            picture, source, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )  # type: ignore[call-overload]
        shown = (shown * gain).clip(0, 255).astype(np.uint8)
        truth = rng.uniform(0, 1, (EACH, 2)) * [width - 1, height - 1]
        truth = truth.astype(np.float32)
        points = truth + sample(bend, truth)
        inside = (points >= 0).all(1) & (points <= [width - 1, height - 1]).all(1)
        clip = PairClip(f"{film.name}/{number:05}", [picture, shown])
        out.append(KnownPair(clip, points[inside], truth[inside]))
    return out
