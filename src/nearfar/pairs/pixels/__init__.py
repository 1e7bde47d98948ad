"""Videos: frames, optical flow, views whose pixels correspond, and what judges them."""

from nearfar.pairs.pixels._clips import Film, PairClip, StretchClip, VideoClip
from nearfar.pairs.pixels._correspond import Correspondence, correspond
from nearfar.pairs.pixels._flow import Method, chain, consistent, flow_between, sample, texture
from nearfar.pairs.pixels._footage import Footage
from nearfar.pairs.pixels._pixel_pairs import PixelPairs
from nearfar.pairs.pixels._reader import PixelReader
from nearfar.pairs.pixels._spots import Frame, Grid, Look, Spot
from nearfar.pairs.pixels._store import Store, Stretch, stretches
from nearfar.pairs.pixels._tracks import colours, draw_tracks, overlays, write_tracks
from nearfar.pairs.pixels._videos import Video, find_videos
from nearfar.pairs.pixels._views import Window, recolour

__all__ = [
    "Correspondence",
    "Film",
    "Footage",
    "Frame",
    "Grid",
    "Look",
    "Method",
    "PairClip",
    "PixelPairs",
    "PixelReader",
    "Spot",
    "Store",
    "Stretch",
    "StretchClip",
    "Video",
    "VideoClip",
    "Window",
    "chain",
    "colours",
    "consistent",
    "correspond",
    "draw_tracks",
    "find_videos",
    "flow_between",
    "overlays",
    "recolour",
    "sample",
    "stretches",
    "texture",
    "write_tracks",
]
