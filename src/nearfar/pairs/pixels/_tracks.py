"""Tracks on disk: a table, and the video with them drawn in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nearfar.files import replace_text
from nearfar.pairs.pixels._clips import Film
from nearfar.pairs.pixels._flow import Points
from nearfar.pairs.pixels._videos import Picture

TRAIL = 12  # Frames of a track that are drawn behind its point.


def write_tracks(path: Path, points: Points, visible: NDArray[np.bool_]) -> None:
    """Columns point, frame, x, y, visible.

    Args:
        path: A .csv file.
        points: (N, T, 2); NaN where a point is not asked for yet.
        visible: (N, T).
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["point", "frame", "x", "y", "visible"])
    for point, frame in zip(*np.nonzero(~np.isnan(points[..., 0])), strict=True):
        x, y = points[point, frame]
        table.writerow([point, frame, f"{x:.2f}", f"{y:.2f}", int(visible[point, frame])])
    replace_text(path, text.getvalue())


def overlays(film: Film, points: Points, visible: NDArray[np.bool_]) -> Iterator[Picture]:
    """Every frame with points and their trails: filled where seen, a ring where not.

    Args:
        film: T frames.
        points: (N, T, 2) in pixels of its frames, NaN where there is none.
        visible: (N, T).
    """
    import cv2

    inks = colours(len(points))
    for number, frame in enumerate(film.frames()):
        picture = np.ascontiguousarray(frame)
        for track, seen, ink in zip(points, visible, inks, strict=True):
            trail = track[max(0, number - TRAIL) : number + 1]
            trail = trail[~np.isnan(trail[:, 0])].round().astype(np.int32)
            if len(trail):
                cv2.polylines(picture, [trail], False, ink, 1, cv2.LINE_AA)
                size = -1 if seen[number] else 1
                cv2.circle(picture, trail[-1].tolist(), 3, ink, size, cv2.LINE_AA)
        yield picture


def draw_tracks(
    path: Path, film: Film, points: Points, visible: NDArray[np.bool_], rate: float = 25
) -> None:
    """Write `overlays` as an .mp4 (H.264), ``rate`` frames a second."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(rate))
        height, width = (length // 2 * 2 for length in film.shape)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in overlays(film, points, visible):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture[:height, :width]), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def colours(number: int) -> list[tuple[int, int, int]]:
    """Well-spread bright colours, RGB.

    Example:
        >>> colours(2)
        [(255, 0, 0), (0, 255, 255)]
    """
    import colorsys

    wheel = [colorsys.hsv_to_rgb(row / max(number, 1), 1, 1) for row in range(number)]
    return [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b in wheel]
