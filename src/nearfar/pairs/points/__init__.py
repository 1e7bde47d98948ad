"""What two-player games are judged on: mixtures in the plane, and stacks of three digits."""

from nearfar.pairs.points._game_pairs import FAKE, REAL, Fakes, GamePairs
from nearfar.pairs.points._mixture import Mixture, mixture
from nearfar.pairs.points._point_reader import PointReader
from nearfar.pairs.points._stacked_digits import Digits, StackReader, stacked_digits

__all__ = [
    "FAKE",
    "REAL",
    "Digits",
    "Fakes",
    "GamePairs",
    "Mixture",
    "PointReader",
    "StackReader",
    "mixture",
    "stacked_digits",
]
