"""How a matrix that is never stored is cut for a GPU: slabs in memory, tiles in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

from nearfar.loss.push._game import Game

# The forces of one slab at a time are written to memory, up to this many bytes.
BYTES = 256 * 2**20
# Sides of tiles divide this; so many rows can be read beyond the last.
MARGIN = 256


class Tile(NamedTuple):
    """What one program works on, ``depth`` terms at a time, and the warps and stages it takes."""

    height: int
    width: int
    depth: int
    warps: int
    stages: int

    def number(self, rows: int, columns: int) -> int:
        """How many of them cover a slab."""
        return parts(rows, self.height) * parts(columns, self.width)

    def within(self, memory: int, size: int) -> Tile:
        """With as many stages as fit the bytes of shared memory, of elements of a size."""
        stage = (self.height + self.width) * self.depth * size
        return self._replace(stages=max(1, min(self.stages, memory // stage)))


@dataclass(frozen=True)
class Tiles:
    """The tiles of one number format.

    They are set, and not searched for when a program runs: the same tiles add up in the same
    order, so that a training that is resumed on the same kind of GPU goes on bit for bit.

    Attributes:
        few: Where larger ones would leave most processors idle.
        short: For embeddings of at most 256 elements: two programs share a processor, and one's
            exponentials hide behind the other's products.
        long: For longer ones, where products dominate.
        product: Of gradients.
        narrow: Of gradients whose columns ``product`` would cover worse.
    """

    few: Tile
    short: Tile
    long: Tile
    product: Tile
    narrow: Tile

    def of_logits(self, rows: int, columns: int, dim: int, processors: int) -> Tile:
        """The tile for logits and their forces."""
        tile = self.short if dim <= 256 else self.long
        return tile if 2 * tile.number(rows, columns) >= processors else self.few

    def of_gradients(self, dim: int) -> Tile:
        """The tile for products of forces and embeddings."""
        covered = [parts(dim, tile.width) * tile.width for tile in (self.product, self.narrow)]
        return self.product if covered[0] <= covered[1] else self.narrow


# For an H100: as large as its registers and its shared memory allow.
BF16 = Tiles(
    few=Tile(64, 64, 64, warps=4, stages=4),
    short=Tile(128, 128, 64, warps=4, stages=3),
    long=Tile(256, 128, 64, warps=8, stages=4),
    product=Tile(128, 256, 64, warps=8, stages=4),
    narrow=Tile(128, 128, 64, warps=4, stages=3),
)
_LARGE = Tile(128, 128, 32, warps=8, stages=3)
FLOAT32 = Tiles(
    few=Tile(64, 64, 32, warps=4, stages=3),
    short=_LARGE,
    long=_LARGE,
    product=_LARGE,
    narrow=_LARGE,
)


class Processors(NamedTuple):
    """Of a GPU: how many there are, and the bytes of shared memory a program can have."""

    number: int
    memory: int


class Slab(NamedTuple):
    """A part of the matrix; of one on the diagonal of a triangle, half is enough."""

    rows: slice
    columns: slice
    diagonal: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


class Slabs:
    """Slabs, row after row; of a triangle, those on and above the diagonal.

    Args:
        game: Who plays.
        most: Elements of a slab.
        tile: Of the gradients.
        processors: Of the GPU.
    """

    def __init__(self, game: Game, most: int, tile: Tile, processors: int) -> None:
        self.rows, self.columns, self.triangle = len(game.query), len(game.keys), game.triangle
        dim = game.query.shape[1]
        # So many rows give each processor the same number of tiles of the gradients.
        fair = processors * tile.height // parts(dim, tile.width)
        side = isqrt(most)
        high = wide = side // fair * fair if 0 < fair <= side else side
        if not self.triangle and self.rows <= high:
            wide = most // up(self.rows, MARGIN)
        elif not self.triangle and self.columns <= wide:
            high = most // up(self.columns, MARGIN)
        # Places are 32-bit integers.
        longest = 2**30 // up(dim, MARGIN)
        self.height = _even(self.rows, min(high, longest))
        self.width = _even(self.columns, min(wide, longest))

    def __iter__(self) -> Iterator[Slab]:
        for top in range(0, self.rows, self.height):
            for left in range(top if self.triangle else 0, self.columns, self.width):
                rows = slice(top, min(top + self.height, self.rows))
                columns = slice(left, min(left + self.width, self.columns))
                yield Slab(rows, columns, self.triangle and left == top)


def shares(tiles: int, terms: int, processors: int) -> int:
    """In how many sums to cut a sum of ``terms``, so that ``tiles`` keep processors busy."""

    def cost(number: int) -> float:
        return parts(tiles * number, processors) / number * (1 + number / 50)

    return min(range(1, 1 + max(1, min(64, terms // 256))), key=cost)


def parts(length: int, part: int) -> int:
    """How many parts cover a length."""
    return -(-length // part)


def up(length: int, part: int) -> int:
    """The length, up to a whole number of parts, at least one."""
    return max(1, parts(length, part)) * part


def _even(length: int, most: int) -> int:
    """The length of equal pieces, which are hardly longer than ``most``."""
    most = max(most // MARGIN, 1) * MARGIN
    return up(parts(length, max(1, parts(length, most))), MARGIN)
