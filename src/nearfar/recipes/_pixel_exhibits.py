"""What the report of a pixel run shows: nearest pixels, colours of features, tracks."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from nearfar.experiment import Exhibit
from nearfar.model import Model
from nearfar.pairs.pixels import (
    Method,
    PixelPairs,
    Store,
    Stretch,
    StretchClip,
    colours,
    flow_between,
    overlays,
)
from nearfar.probes import Tracker, embedded

SHOWN = 6  # Frames of a clip.


def exhibits(store: Store, flow: Method, model: Model) -> list[Exhibit]:
    """Queries and their nearest pixels in later frames, PCA colours, and followed points.

    Args:
        store: Frames that training saw.
        flow: Method of optical flow.
        model: The trained one.
    """
    clips = [StretchClip(one) for one in _different(store)]
    return [_nearest(clips, model), _colours(clips, model), _followed(clips, flow, model)]


def remarks(pairs: PixelPairs, held: bool) -> list[str]:
    """What the checks leave out, what was cut, and what the table is about.

    Args:
        pairs: What training draws from.
        held: Videos are held out.
    """
    videos = len({one.video for one in pairs.store.stretches})
    out = [f"{len(pairs.store):,} frames of {videos} videos."]
    if pairs.gap:
        share = pairs.masked()
        out.append(
            f"Of pixels looked at up to {pairs.gap} frames on, {share['masked']:.0%} are masked: "
            f"{share['returns']:.0%} do not come back or leave the picture, "
            f"{share['bright']:.0%} change their brightness, {share['textured']:.0%} have no "
            f"texture (some for several reasons){'' if pairs.checks else '; all are used'}."
        )
    if not held:
        out.append(
            "The table is about frames that training has seen (never what is marked in them); "
            "--hold_out VIDEO mends that."
        )
    return out


def _different(store: Store) -> list[Stretch]:
    """The longest stretch of up to three videos, spread over all of them."""
    by_video = {one.video: one for one in sorted(store.stretches, key=lambda s: len(s.frames))}
    videos = sorted(by_video)
    chosen = sorted({videos[round(at)] for at in np.linspace(0, len(videos) - 1, 3)})
    return [by_video[video] for video in chosen]


def _numbers(clip: StretchClip) -> list[int]:
    return [int(at) for at in np.linspace(0, len(clip) - 1, min(SHOWN, len(clip)))]


def _queries(clip: StretchClip, count: int = 6) -> NDArray[np.float32]:
    """Textured places of the first frame, apart from each other: (N, 2) x and y."""
    import cv2

    grey = cv2.cvtColor(clip.picture(0), cv2.COLOR_RGB2GRAY)
    apart = min(grey.shape) / 5
    found = cv2.goodFeaturesToTrack(grey, count, 0.01, apart, blockSize=9)
    middle = np.array([[clip.shape[1] / 2, clip.shape[0] / 2]], np.float32)
    return middle if found is None else found.reshape(-1, 2).astype(np.float32)


def _nearest(clips: list[StretchClip], model: Model) -> Exhibit:
    rows = []
    for clip in clips:
        points = _queries(clip)
        asked = embedded(model.embed, clip.spots(0, points))[0]
        pictures = [_marked(clip.picture(0), points, np.ones(len(points)))]
        for number in _numbers(clip)[1:]:
            grid = embedded(model.embed, clip.grid(number, 4))
            similar = (grid @ asked.T).reshape(-1, len(points))
            y, x = np.divmod(similar.argmax(0), grid.shape[1])
            places = np.stack([x, y], 1).astype(np.float32) * 4
            pictures.append(_marked(clip.picture(number), places, similar.max(0)))
        rows.append(pictures)
    return Exhibit(
        title="Nearest pixels",
        text="Places of the first frame of each row, and the most similar place anywhere in later "
        "frames: no flow, no limit on the distance. The smaller the mark, the less similar.",
        pictures=_grid(rows),
    )


def _colours(clips: list[StretchClip], model: Model) -> Exhibit:
    import cv2

    rows = []
    for clip in clips:
        grids = [embedded(model.embed, clip.grid(number, 4)) for number in _numbers(clip)]
        flat = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in grids])
        mean = flat.mean(0)
        _, _, directions = np.linalg.svd((flat - mean)[:: max(1, len(flat) // 4000)], False)
        shown = [(grid - mean) @ directions[:3].T for grid in grids]
        low, high = np.percentile(np.concatenate([s.reshape(-1, 3) for s in shown]), (1, 99), 0)
        size = clip.shape[::-1]
        rows.append([clip.picture(number) for number in _numbers(clip)])
        rows.append(
            [
                cv2.resize(
                    (((s - low) / (high - low + 1e-9)).clip(0, 1) * 255).astype(np.uint8), size
                )
                for s in shown
            ]
        )
    return Exhibit(
        title="Features as colours",
        text="The three largest principal components of a clip's features as red, green and blue. "
        "A part of an object should keep its colour from frame to frame.",
        pictures=_grid(rows),
    )


def _followed(clips: list[StretchClip], flow: Method, model: Model) -> Exhibit:
    rows = []
    for clip in clips:
        points = _queries(clip, 10)
        queries = np.column_stack([np.zeros(len(points), np.float32), points])
        found = Tracker().follow(clip, queries, model.embed, partial(flow_between, method=flow))
        pictures = list(overlays(clip, found.points, found.visible))
        rows.append([pictures[number] for number in _numbers(clip)])
    return Exhibit(
        title="Followed points",
        text="Flow makes the step, features look again every few frames and after an occlusion. "
        "Filled: seen; a ring: taken for hidden. `nearfar track` does this for your video.",
        pictures=_grid(rows),
    )


def _marked(
    picture: NDArray[np.uint8], places: NDArray[np.float32], similar: NDArray[np.floating]
) -> NDArray[np.uint8]:
    import cv2

    out = np.ascontiguousarray(picture).copy()
    for (x, y), value, ink in zip(places, similar, colours(len(places)), strict=True):
        radius = max(2, round(6 * float(value)))
        cv2.circle(out, (round(x), round(y)), radius, (255, 255, 255), 3, cv2.LINE_AA)
        cv2.circle(out, (round(x), round(y)), radius, ink, 2, cv2.LINE_AA)
    return out


def _grid(rows: list[list[NDArray[np.uint8]]], width: int = 214) -> NDArray[np.uint8]:
    """Pictures in rows, each scaled to one width, with a gap between them."""
    import cv2

    lines = []
    for row in rows:
        height = round(width * row[0].shape[0] / row[0].shape[1])
        small = [cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in row]
        blank = [np.full((height, width, 3), 255, np.uint8)] * (max(map(len, rows)) - len(row))
        padded = [
            np.pad(one, ((2, 2), (2, 2), (0, 0)), constant_values=255) for one in small + blank
        ]
        lines.append(np.concatenate(padded, 1))
    return np.concatenate(lines)
