"""Follow points through a video: nearfar track VIDEO --points x,y ... --run RUN"""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.errors import NearfarError


def track(
    video: str,
    *,
    points: list[str],
    run: str,
    out: str | None = None,
    start: int = 0,
    flow: bool = True,
    json: bool = False,
) -> int:
    """Write where points go, as CSV and as a video with their tracks drawn in.

    Args:
        video: A video file or a folder of frames.
        points: Places to follow, each x,y in pixels of the video.
        run: The run folder of a `nearfar train pixels`.
        out: CSV to write; the overlay lies beside it. By default named after the video, here.
        start: Frame in which the points lie; they are followed from there to the end.
        flow: Optical flow makes the step, and features look again; no for features alone.
        json: Print the figures as JSON.
    """
    from functools import partial
    from pathlib import Path

    import numpy as np

    from nearfar.cli import _show as show
    from nearfar.model import load
    from nearfar.pairs.pixels import (
        PixelReader,
        Video,
        VideoClip,
        draw_tracks,
        flow_between,
        write_tracks,
    )
    from nearfar.probes import Tracker

    model = load(run)
    reader = model.reader
    if not isinstance(reader, PixelReader):
        raise NearfarError(f"run={run!r} has not learned from pixels; wanted a run of that recipe.")
    clip = VideoClip(Video(video, size=reader.size))
    factor = clip.shape[1] / clip.video.whole[1]
    places = np.array([_place(point) for point in points], np.float32)
    height, width = clip.video.whole
    if (places < 0).any() or (places > [width - 1, height - 1]).any():
        raise NearfarError(
            f"points={' '.join(points)}: the video is {width} pixels wide and {height} high; "
            "wanted places in it."
        )
    if not 0 <= start < len(clip):
        raise NearfarError(f"start={start}: the video has {len(clip)} frames, counted from 0.")
    queries = np.column_stack([np.full(len(places), start, np.float32), places * factor])
    step = partial(flow_between, method=reader.flow) if flow else None
    found = Tracker().follow(clip, queries, model.embed, step)
    csv = Path(out or f"{Path(video).stem}_tracks.csv")
    if csv.suffix != ".csv":
        raise NearfarError(f"out={str(csv)!r}: wanted a file that ends in .csv.")
    overlay = csv.with_suffix(".mp4")
    write_tracks(csv, found.points / factor, found.visible)
    draw_tracks(overlay, clip, found.points, found.visible, clip.video.rate)
    seen = float(found.visible[:, start:].mean())
    frames = len(clip) - start
    if json:
        show.print_json(
            {"tracks": str(csv), "overlay": str(overlay), "frames": frames, "visible": seen}
        )
    else:
        console = show.out()
        console.print(f"{len(places)} points over {frames} frames, seen in {seen:.0%} of them")
        show.say(console, "tracks", str(csv))
        show.say(console, "overlay", str(overlay))
    return 0


def _place(text: str) -> tuple[float, float]:
    try:
        x, y = (float(number) for number in text.split(","))
    except ValueError:
        raise NearfarError(f"points={text!r}: wanted x,y in pixels, such as 120,80.") from None
    return x, y


def command(words: Sequence[str]) -> int:
    """``nearfar track``."""
    from nearfar.cli._parse import call

    return call(track, "nearfar track", words)
