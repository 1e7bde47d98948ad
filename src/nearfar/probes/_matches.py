"""Find a pixel of one picture in another by nearest features, where the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.probes._pixel_clips import Clip, Flow, embedded
from nearfar.probes._scores import Embed
from nearfar.probes._tracks import refined

Points = NDArray[np.float32]


@dataclass(frozen=True)
class KnownPair:
    """Two frames and places of the first whose places in the second are known.

    Attributes:
        clip: Two frames of the same size.
        points: (N, 2) x and y in the first.
        truth: (N, 2) in the second.
    """

    clip: Clip
    points: Points
    truth: Points


def nearest_places(embed: Embed, pair: KnownPair, step: float = 4) -> Points:
    """(N, 2) the most similar place anywhere in the second frame, to a part of a cell.

    Args:
        embed: Features.
        pair: Where to look.
        step: Pixels between the places that are looked at.
    """
    asked = embedded(embed, pair.clip.spots(0, pair.points))[0]
    grid = embedded(embed, pair.clip.grid(1, step))
    found = []
    for part in np.array_split(asked, len(asked) // 64 + 1):
        similar = np.moveaxis(grid @ part.T, -1, 0)
        found.append(refined(similar, similar.reshape(len(part), -1).argmax(1), step))
    return np.concatenate(found)


def flow_places(flow: Flow, pair: KnownPair) -> Points:
    """(N, 2) where optical flow says the points are."""
    field = flow(pair.clip.picture(0), pair.clip.picture(1))
    x, y = pair.points.round().astype(int).T
    return np.asarray(pair.points + field[y, x], np.float32)


def match_scores(found: Points, truth: Points) -> dict[str, float]:
    """End-point error in pixels (mean and median) and the share within 1, 3 and 5 pixels."""
    error = np.linalg.norm(found - truth, axis=1)
    shares = {f"within_{r}": float((error <= r).mean()) for r in (1, 3, 5)}
    return {"epe": float(error.mean()), "epe_median": float(np.median(error)), **shares}
