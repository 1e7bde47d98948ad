"""Micrographs: turned windows on full maps, grains and tiles, and what needs no training."""

from nearfar.pairs.micrographs._files import SHAPE, read_file
from nearfar.pairs.micrographs._map import Map
from nearfar.pairs.micrographs._places import Places, most_channels, places, split
from nearfar.pairs.micrographs._reader import MicrographReader
from nearfar.pairs.micrographs._rings import ring_invariants, ring_means, ring_spectra
from nearfar.pairs.micrographs._sample import Atlas, Views, disk
from nearfar.pairs.micrographs._turned_pairs import TurnedPairs
from nearfar.pairs.micrographs._windows import Window

__all__ = [
    "SHAPE",
    "Atlas",
    "Map",
    "MicrographReader",
    "Places",
    "TurnedPairs",
    "Views",
    "Window",
    "disk",
    "most_channels",
    "places",
    "read_file",
    "ring_invariants",
    "ring_means",
    "ring_spectra",
    "split",
]
