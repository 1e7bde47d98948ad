"""Follow points through a clip: by features, by flow, by both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.probes._pixel_clips import Clip, Flow, embedded
from nearfar.probes._scores import Embed, Vectors
from nearfar.progress import tracked

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Track:
    """N points over T frames.

    Attributes:
        points: (N, T, 2) x and y in pixels; NaN before a point is asked for.
        visible: (N, T), as far as the tracker can tell.
    """

    points: Points
    visible: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """Finds the place that looks like the query, near where the point was last.

    Each point is followed by itself, forward in time only, to the peak of

        similarity to the template - prior (distance / radius)^2

    where the template is the mean of the query's features and of those of the places since, the
    similarity is a cosine in standard deviations over the frame (so that one prior suits all kinds
    of features), and the distance is to the point's last place. With a flow whose way back returns,
    the distance may be to the place where the flow carries the point instead, at the price of
    ``doubt``. So the flow makes the step where it can, and features leave it where it drifts, loses
    the point or jumps to the ground.

    Attributes:
        step: Pixels between the places that are looked at.
        radius: Pixels that are searched around.
        prior: Standard deviations of similarity that a place loses at that distance.
        doubt: Standard deviations of similarity that it costs to go with the flow.
        memory: Share of a new sure place in the running mean; the query keeps half of the template.
        sure: Similarity to the query from which a place counts as seen.
        again: Frames between two looks where the flow carries a point; in between it is believed.
        snap: A peak within this many pixels of the flow's place is the flow's place, which is finer
            than the cells of a feature map.
    """

    step: float = 4
    radius: float = 24
    prior: float = 3.0
    doubt: float = 1.0
    memory: float = 0.3
    sure: float = 0.5
    again: int = 1
    snap: float = 2

    def follow(
        self, clip: Clip, queries: Points, embed: Embed | None = None, flow: Flow | None = None
    ) -> Track:
        """Follow points from their own frames to the clip's end.

        Args:
            clip: T frames.
            queries: (N, 3): number of the frame, x, y.
            embed: Features; None to use flow alone.
            flow: Optical flow; None to use features alone.
        """
        number, length = len(queries), len(clip)
        points = np.full((number, length, 2), np.nan, np.float32)
        visible = np.zeros((number, length), bool)
        begin = queries[:, 0].astype(int)
        looks: _Looks | None = None
        before = None
        for now in tracked(range(int(begin.min()), length), f"Points in {clip.name}"):
            picture = None if flow is None else clip.picture(now)
            new, old = np.flatnonzero(begin == now), np.flatnonzero(begin < now)
            if len(old):
                last = points[old, now - 1]
                carried = None
                if flow is not None and before is not None and picture is not None:
                    carried = _carried(flow, before, picture, last)
                if embed is None or looks is None:
                    place, held = carried or (last, np.ones(len(old), bool))
                    points[old, now], visible[old, now] = place, held
                else:
                    grid = embedded(embed, clip.grid(now, self.step))
                    due = (now - begin[old]) % self.again == 0
                    place = self._look(grid, looks.template(old), last, carried, due)
                    points[old, now] = place
                    visible[old, now] = looks.add(old, _at(grid, place / self.step), self)
            if len(new):
                points[new, now], visible[new, now] = queries[new, 1:], True
                if embed is not None:
                    found = embedded(embed, clip.spots(now, queries[new, 1:]))[0]
                    looks = looks or _Looks(number, found.shape[1])
                    looks.query[new] = looks.mean[new] = found
            before = picture
        return Track(points, visible)

    def _look(
        self,
        grid: Vectors,
        template: Vectors,
        last: Points,
        carried: tuple[Points, NDArray[np.bool_]] | None,
        due: NDArray[np.bool_],
    ) -> Points:
        """(N, 2) the peaks."""
        similar = np.moveaxis(grid @ template.T, -1, 0)
        similar = similar / similar.std((1, 2), keepdims=True).clip(1e-6)
        y, x = np.mgrid[: similar.shape[1], : similar.shape[2]] * np.float32(self.step)
        cost = self._cost(_distance(x, y, last))
        if carried is not None:
            there, held = carried
            flown = self.doubt + self._cost(_distance(x, y, there))
            cost = np.where(held[:, None, None], np.minimum(cost, flown), cost)
        allowed = np.maximum(self.prior, cost.min((1, 2), keepdims=True))
        score = np.where(cost <= allowed, similar - cost, -np.inf)
        peak = score.reshape(len(last), -1).argmax(1)
        found = refined(score.astype(np.float32), peak, self.step, sharp=0.2)
        if carried is not None:
            near = np.linalg.norm(found - there, axis=1) < self.snap
            found = np.where((held & (near | ~due))[:, None], there, found)
        return found

    def _cost(self, far: Points) -> Points:
        return np.asarray(self.prior * (far / self.radius) ** 2, np.float32)


class _Looks:
    """What points look like: at their query, and in the mean since."""

    def __init__(self, number: int, dim: int) -> None:
        self.query, self.mean = np.zeros((2, number, dim), np.float32)

    def template(self, rows: NDArray[np.int64]) -> Vectors:
        return _unit(self.query[rows] + self.mean[rows])

    def add(self, rows: NDArray[np.int64], found: Vectors, tracker: Tracker) -> NDArray[np.bool_]:
        """Whether they are seen; the mean moves towards those that are."""
        found = _unit(found)
        seen = (found * self.query[rows]).sum(1) > tracker.sure
        moved = _unit((1 - tracker.memory) * self.mean[rows] + tracker.memory * found)
        self.mean[rows] = np.where(seen[:, None], moved, self.mean[rows])
        return np.asarray(seen)


def refined(
    similar: NDArray[np.float32], place: NDArray[np.int64], step: float, sharp: float = 0.05
) -> Points:
    """Peaks to a part of a cell: the mean of the 3 x 3 cells around, weighted by softmax.

    Args:
        similar: (N, rows, columns) cosines.
        place: (N,) flat positions of the peaks.
        step: Pixels a cell.
        sharp: Temperature of the softmax.
    """
    number, rows, columns = similar.shape
    y, x = np.divmod(place, columns)
    dy, dx = (part.ravel() for part in np.mgrid[-1:2, -1:2])
    yy, xx = (y[:, None] + dy).clip(0, rows - 1), (x[:, None] + dx).clip(0, columns - 1)
    around = similar[np.arange(number)[:, None], yy, xx]
    weight = np.exp((around - around.max(1, keepdims=True)) / sharp)
    weight /= weight.sum(1, keepdims=True)
    return np.stack([(weight * xx).sum(1), (weight * yy).sum(1)], 1).astype(np.float32) * step


def _carried(
    flow: Flow, before: NDArray[np.uint8], now: NDArray[np.uint8], points: Points
) -> tuple[Points, NDArray[np.bool_]]:
    """Points one flow on, and whether the flow back brings them back."""
    height, width = now.shape[:2]
    there = points + _at(flow(before, now), points)
    back = there + _at(flow(now, before), there)
    moved = np.linalg.norm(there - points, axis=1)
    good = np.linalg.norm(back - points, axis=1) < 1 + 0.05 * moved
    inside = there.clip(0, [width - 1, height - 1]).astype(np.float32)
    return inside, good & (np.abs(inside - there).max(1) < 1)


def _distance(x: Points, y: Points, places: Points) -> Points:
    """(N, rows, columns) pixels from each cell to each place."""
    far = np.hypot(x - places[:, 0, None, None], y - places[:, 1, None, None])
    return np.asarray(far, np.float32)


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)
    return np.asarray(vectors / length, np.float32)


def _at(field: NDArray[np.float32], places: Points) -> NDArray[np.float32]:
    """(H, W, C) at (N, 2) places, bilinear."""
    height, width = field.shape[:2]
    x, y = places[:, 0].clip(0, width - 1), places[:, 1].clip(0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper = field[top, left] * (1 - fx) + field[top, right] * fx
    lower = field[below, left] * (1 - fx) + field[below, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)
