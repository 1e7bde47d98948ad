"""Sounds and pictures that only clocks relate: times, clocks, pairs, the reader."""

from nearfar.pairs.audio_image._clock import Clock
from nearfar.pairs.audio_image._devices import Clocks, align, believed, right_times
from nearfar.pairs.audio_image._estimate import estimate_clock, refine
from nearfar.pairs.audio_image._events import events
from nearfar.pairs.audio_image._features import numbers
from nearfar.pairs.audio_image._find import Moments, common_labels
from nearfar.pairs.audio_image._mixed import Mixed
from nearfar.pairs.audio_image._opinion import Opinion
from nearfar.pairs.audio_image._partners import Partners, Relation
from nearfar.pairs.audio_image._reader import SenseReader, is_sound
from nearfar.pairs.audio_image._scan import near, scan, unrelated
from nearfar.pairs.audio_image._sounds import Clip, facts, read_clip
from nearfar.pairs.audio_image._stamps import exif_stamp, parse, zone_of
from nearfar.pairs.audio_image._streams import Stream, lowest_rate, streams
from nearfar.pairs.audio_image._tables import Times
from nearfar.pairs.audio_image._time_pairs import TimePairs

__all__ = [
    "Clip",
    "Clock",
    "Clocks",
    "Mixed",
    "Moments",
    "Opinion",
    "Partners",
    "Relation",
    "SenseReader",
    "Stream",
    "TimePairs",
    "Times",
    "align",
    "believed",
    "common_labels",
    "estimate_clock",
    "events",
    "exif_stamp",
    "facts",
    "is_sound",
    "lowest_rate",
    "near",
    "numbers",
    "parse",
    "read_clip",
    "refine",
    "right_times",
    "scan",
    "streams",
    "unrelated",
    "zone_of",
]
