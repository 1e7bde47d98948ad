"""Everything that a path holds: videos, and the masks, tracks and known flows that judge pixels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

from nearfar.errors import NearfarError, did_you_mean
from nearfar.pairs.pixels._annotations import find_flows, find_tracks, mask_files
from nearfar.pairs.pixels._clips import Film, VideoClip
from nearfar.pairs.pixels._flow import Method, flow_between
from nearfar.pairs.pixels._known import flow_pair, warped_pairs
from nearfar.pairs.pixels._spots import Frame
from nearfar.pairs.pixels._videos import find_videos
from nearfar.probes import KnownPair, PixelProbe


@dataclass(frozen=True)
class Footage:
    """What was found.

    Attributes:
        films: Videos and folders of frames, or the two pictures of each known flow.
        pairs: Known flows.
        skipped: What could not be read, each with the reason.
    """

    films: list[Film]
    pairs: list[KnownPair] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def find(cls, path: str, size: int | None) -> Footage:
        """Look below a path; known flows first, then videos.

        Args:
            path: A video, or a folder.
            size: The shorter side of a video's frame is scaled down to this.

        Raises:
            NearfarError: Nothing is there, or nothing of it can be read.
        """
        root = Path(path)
        flows, wrong = find_flows(root)
        if flows:
            known = [flow_pair(one) for one in flows]
            return cls([clip for clip, _ in known], [pair for _, pair in known], wrong)
        videos, skipped = find_videos(root, size)
        tracks, bad = find_tracks(root)
        films: list[Film] = []
        for video in videos:
            clip = VideoClip(video, mask_files(video.path), tracks.get(video.path.stem))
            films.append(clip)
            bad |= clip.skipped
        return cls(films, [], {**wrong, **skipped, **bad})

    @property
    def clips(self) -> list[VideoClip]:
        """The videos among the films."""
        return [film for film in self.films if isinstance(film, VideoClip)]

    def split(self, hold_out: str | None) -> tuple[Footage, Footage | None]:
        """Films to train on, and those that are held out.

        Args:
            hold_out: Names with commas between, or patterns with ``*``; None holds nothing out.

        Raises:
            NearfarError: A name that no film has, or nothing is left to train on.
        """
        if hold_out is None:
            return self, None
        names = [film.name for film in self.films]
        out: set[int] = set()
        for pattern in hold_out.split(","):
            rows = {
                row
                for row, name in enumerate(names)
                if fnmatch(name, pattern.strip()) or fnmatch(Path(name).name, pattern.strip())
            }
            if not rows:
                raise NearfarError(
                    f"hold_out={pattern!r} fits none of the {len(names)} videos, such as "
                    f"{names[0]!r}.{did_you_mean(pattern, names)}"
                )
            out |= rows
        if len(out) == len(names):
            raise NearfarError(f"hold_out={hold_out!r} leaves none of {len(names)} videos.")
        kept = [film for row, film in enumerate(self.films) if row not in out]
        return replace(self, films=kept), Footage([self.films[row] for row in sorted(out)])

    def frames(self) -> list[Frame]:
        """Every frame of every film."""
        return [Frame(film, number) for film in self.films for number in range(len(film))]

    def probe(self, flow: Method) -> PixelProbe:
        """Judge by what there is: masks, tracks, known flows; else by warps of the frames."""
        masked = [clip for clip in self.clips if 0 in clip.masks and len(clip.masks) > 2]
        tracked = [clip for clip in self.clips if clip.tracks is not None]
        pairs, remark = self.pairs, ""
        if not (masked or tracked or pairs):
            pairs = warped_pairs(self.films)
            remark = "no annotations: frames are found again in random warps of themselves"
        return PixelProbe(
            masked=masked,
            tracked=tracked,
            pairs=pairs,
            flow=partial(flow_between, method=flow),
            remark=remark,
        )
