"""Do pixel features carry masks, follow points and find known places?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._matches import KnownPair, flow_places, match_scores, nearest_places
from nearfar.probes._pixel_clips import Clip, Flow
from nearfar.probes._propagation import Mask, Propagation, contour, flow_masks, region
from nearfar.probes._scores import Embed, Scores
from nearfar.probes._tracks import Points, Track, Tracker

FLOW, STILL, FUSED = "chained flow", "static", "learned, fused with flow"


class MarkedClip(Clip, Protocol):
    """A clip with masks of some frames, or marked points, or both."""

    @property
    def tracks(self) -> Points | None:
        """(N, T, 2) x and y, NaN where not marked."""
        ...

    def mask(self, number: int) -> Mask | None:
        """(H, W) integers, 0 the ground; None where the frame has none."""
        ...


@dataclass(frozen=True, kw_only=True)
class PixelProbe:
    """Masks, point tracks and known flow, whatever there is.

    Attributes:
        masked: Clips with a mask of the first frame and of later ones.
        tracked: Clips with marked points.
        pairs: Pairs of frames with known places.
        flow: The opponent.
        propagation: How masks are carried.
        tracker: How points are followed.
        remark: What a person should know about these data.
    """

    masked: Sequence[MarkedClip] = ()
    tracked: Sequence[MarkedClip] = ()
    pairs: Sequence[KnownPair] = ()
    flow: Flow
    propagation: Propagation = field(default_factory=Propagation)
    tracker: Tracker = field(default_factory=Tracker)
    remark: str = ""

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """J and F of masks, PCK and delta_avg of points, error and shares of matches.

        Raises:
            NearfarError: There is nothing to judge by.
        """
        if not (self.masked or self.tracked or self.pairs):
            raise NearfarError(
                "There is nothing to judge by. Wanted masks beside the frames (frames/dog with "
                "masks/dog), point tracks (BADJA's JSON, or CSV), or pictures with a .flo."
            )
        rows: dict[str, dict[str, float]] = {name: {} for name in features}
        measures: dict[str, str] = {}
        title, note = [], []
        if self.masked:
            title.append(f"masks of {len(self.masked)} clips")
            p = self.propagation
            note.append(
                f"label propagation: first and last {p.context} frames, the mean of 3 x 3 places "
                f"every {p.step:g} pixels, {p.radius} around, top {p.top}, temperature "
                f"{p.temperature:g}"
            )
            measures |= {"jf": "J&F", "j": "J", "f": "F"}
            self._each(rows, features, self._masks)
        if self.tracked:
            title.append(f"points in {len(self.tracked)} clips")
            t = self.tracker
            note.append(
                f"points: {t.radius:g} pixels around, prior {t.prior:g}; PCK: within 0.2 (0.1) of "
                "the root of the mask's area; delta: mean share within 1, 2, 4, 8, 16 pixels of 256"
            )
            several = [f"pck_{_short(clip)}" for clip in self.tracked]
            measures |= {"pck": "PCK@0.2", "pck_fine": "PCK@0.1", "delta": "delta_avg"}
            if 1 < len(several) <= 4:
                measures |= {name: f"PCK@0.2 {name[4:]}" for name in several}
            self._each(rows, features, self._tracks)
        if self.pairs:
            title.append(f"{len(self.pairs)} pairs with known places")
            measures |= {
                "within_1": "within 1 px", "within_3": "3 px", "within_5": "5 px",
                "near": "1 / (1 + EPE)",
            }  # fmt: skip
            self._each(rows, features, self._matches)
        note += [self.remark] if self.remark else []
        shown = {
            key: head for key, head in measures.items() if any(key in r for r in rows.values())
        }
        return Scores(title="; ".join(title), measures=shown, rows=rows, note="; ".join(note))

    def _each(
        self,
        rows: dict[str, dict[str, float]],
        features: Mapping[str, Embed],
        judge: Callable[[Embed | None, Flow | None], dict[str, float]],
    ) -> None:
        """One row for each kind of features, and those that the flow brings."""
        for name, embed in features.items():
            rows[name].update(judge(embed, None))
        if judge == self._tracks and "learned" in features:
            rows.setdefault(FUSED, {}).update(judge(features["learned"], self.flow))
        rows.setdefault(FLOW, {}).update(judge(None, self.flow))
        if judge != self._matches:
            rows.setdefault(STILL, {}).update(judge(None, None))

    def _masks(self, embed: Embed | None, flow: Flow | None) -> dict[str, float]:
        figures = []
        for clip in self.masked:
            first = clip.mask(0)
            if first is None:
                raise NearfarError(f"{clip.name} has no mask of its first frame; wanted one.")
            if embed is not None:
                found: Sequence[Mask] = self.propagation.masks(embed, clip, first)
            else:
                found = [first] * len(clip) if flow is None else flow_masks(flow, clip, first)
            # The first frame was given, and the last is left out, as in DAVIS.
            truths = {n: clip.mask(n) for n in range(1, len(clip) - 1)}
            known = {number: truth for number, truth in truths.items() if truth is not None}
            j, f = (
                float(np.mean([measure(found[n], truth) for n, truth in known.items()]))
                for measure in (region, contour)
            )
            figures.append((j, f))
        j, f = np.mean(figures, 0).tolist()
        return {"jf": (j + f) / 2, "j": j, "f": f}

    def _tracks(self, embed: Embed | None, flow: Flow | None) -> dict[str, float]:
        every: list[dict[str, float]] = []
        own = {}
        for clip in self.tracked:
            truth = clip.tracks
            assert truth is not None
            queries = first_marks(truth)
            if embed is None and flow is None:
                points = np.repeat(queries[:, None, 1:], len(clip), 1)
                found = Track(points, np.ones(points.shape[:2], bool))
            else:
                found = self.tracker.follow(clip, queries, embed, flow)
            figures = point_scores(found.points, truth, queries[:, 0], clip)
            every.append(figures)
            if "pck" in figures:
                own[f"pck_{_short(clip)}"] = figures["pck"]
        keys = {key for one in every for key in one}
        return {
            key: float(np.mean([one[key] for one in every if key in one])) for key in sorted(keys)
        } | own

    def _matches(self, embed: Embed | None, flow: Flow | None) -> dict[str, float]:
        every = []
        for pair in self.pairs:
            if embed is not None:
                found = nearest_places(embed, pair)
            else:
                assert flow is not None
                found = flow_places(flow, pair)
            every.append(match_scores(found, pair.truth))
        mean = {key: float(np.mean([one[key] for one in every])) for key in every[0]}
        return {**mean, "near": 1 / (1 + mean["epe"])}


def first_marks(truth: Points) -> Points:
    """(N, 3) the frame and place of the first mark of each point: number, x, y."""
    marked = ~np.isnan(truth[..., 0])
    first = marked.argmax(1)
    return np.column_stack([first, truth[np.arange(len(truth)), first]]).astype(np.float32)


def point_scores(
    found: Points, truth: Points, begin: NDArray[np.float32], clip: MarkedClip
) -> dict[str, float]:
    """Of all marks after a point's first: PCK where there are masks, and TAP-Vid's delta_avg.

    Args:
        found: (N, T, 2).
        truth: (N, T, 2), NaN where not marked.
        begin: (N,) frame of the query.
        clip: Its masks are the measure of size.
    """
    later = np.arange(truth.shape[1]) > begin[:, None]
    point, number = np.nonzero(later & ~np.isnan(truth[..., 0]))
    off = found[point, number] - truth[point, number]
    height, width = clip.shape
    small = np.linalg.norm(off * np.array([256 / width, 256 / height]), axis=1)
    figures = {"delta": float(np.mean([(small <= r).mean() for r in (1, 2, 4, 8, 16)]))}
    masks = {n: clip.mask(n) for n in sorted(set(number.tolist()))}
    areas = {n: 0 if mask is None else int((mask > 0).sum()) for n, mask in masks.items()}
    size = np.array([areas[n] for n in number.tolist()])
    if (size > 0).any():
        error = np.linalg.norm(off, axis=1)[size > 0] / np.sqrt(size[size > 0])
        figures |= {"pck": float((error <= 0.2).mean()), "pck_fine": float((error <= 0.1).mean())}
    return figures


def _short(clip: MarkedClip) -> str:
    return clip.name.rpartition("/")[2]
