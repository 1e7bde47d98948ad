# mypy: ignore-errors
"""Rows as `multiply` reads them: what is multiplied at once lies in one line of the cache.

Sixteen queries lie beside each other, or 32 keys, entry after entry.
"""

from __future__ import annotations

import numpy as np

from nearfar.loss.loops._line import LINE
from nearfar.loss.loops._multiply import WIDTH
from nearfar.loss.loops._numba import inner
from nearfar.loss.loops._tile import turn_what_is_there


@inner
def lines(height, width):
    """Room that begins where a line of the cache does."""
    room = np.empty(height * width + LINE, np.float32)
    first = -(room.ctypes.data // room.itemsize) % LINE
    return room[first : first + height * width].reshape(height, width)


@inner
def lay(x, top, out, row, column):
    """Sixteen rows, or what is there of them, as columns."""
    for k in range(0, x.shape[1], LINE):
        turn_what_is_there(x, (top, k), len(x), out, (row + k, column))


@inner
def lay_part(thread, threads, key, spot, width, out):
    _, left, _, step = spot
    depth = key.shape[1]
    panels, wide = len(out) // depth, (width + WIDTH - 1) // WIDTH
    for panel in range(panels * thread // threads, panels * (thread + 1) // threads):
        number = panel // wide
        first = left + number * step + (panel - number * wide) * WIDTH
        for j in range(0, WIDTH, LINE):
            lay(key, first + j, out, panel * depth, j)
