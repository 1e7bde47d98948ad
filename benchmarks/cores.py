"""How far apart two threads' cores are, and what it costs to write where both have read.

    python benchmarks/cores.py --seconds 60

Whoever lends a virtual machine may move its cores, so there is a line for each second: how long a
word takes from one thread to the other; and for a tile of 16 MiB, how long forces take that are
written to one room for every tile, which a product of all threads has just read, or where the tile
itself has come from memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from torch import Tensor

from nearfar.loss.loops._numba import compiled, inner
from nearfar.loss.loops._threads import on_threads
from nearfar.loss.loops.tiles import force
from nearfar.loss.push._product import add_turned, turned

TURNS, TILES, HEIGHT, WIDTH, LENGTH = 100_000, 8, 4096, 1024, 256


@intrinsic
def peek(context: Any, word: Any) -> Any:
    """What another thread has put into the first entry."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.load_atomic(array.data, "acquire", 8)

    return types.int64(word), generate


@intrinsic
def poke(context: Any, word: Any, value: Any) -> Any:
    """Put something there that other threads see."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, values[0])
        builder.store_atomic(builder.sext(values[1], ir.IntType(64)), array.data, "release", 8)
        return context.get_dummy_value()

    return types.void(word, value), generate


@inner
def _turns(thread: int, threads: int, word: Any, turns: int) -> None:
    for turn in range(turns):
        while threads == 2 and peek(word) != 2 * turn + thread:
            pass
        poke(word, 2 * turn + thread + 1)


@compiled
def _go(threads: int, *words: Any) -> None:
    on_threads(threads, _turns, words)


def apart() -> float:
    """Nanoseconds from one thread to the other."""
    return seconds(lambda: _go(2, np.zeros(8, np.int64), TURNS)) / TURNS / 2 * 1e9


def seconds(work: Callable[[], object]) -> float:
    """It takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


class Step:
    """Forces of some tiles, each followed by a product that reads them."""

    def __init__(self) -> None:
        self.tiles = torch.rand(TILES, HEIGHT, WIDTH)
        self.room = torch.zeros(HEIGHT, WIDTH)
        self.queries = turned(torch.rand(HEIGHT, LENGTH), loops=True)
        self.gradient = torch.zeros(LENGTH, WIDTH)
        # Forces are what they come of: numbers stay what they are, step after step.
        self.row, self.column = torch.full((HEIGHT,), 0.5), torch.full((WIDTH,), 0.5)

    def __call__(self, *, one_room: bool) -> float:
        """Milliseconds for the forces alone."""

        def forces(tile: Tensor) -> float:
            out = self.room if one_room else tile
            took = seconds(lambda: force(tile, self.row, self.column, out))
            add_turned(self.gradient, self.queries, out, 1.0, first=True)
            return took

        return 1e3 * sum(forces(tile) for tile in self.tiles)


def main() -> None:
    """A line a second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    torch.set_num_threads(2)
    step = Step()
    # Compiled, and pages are there.
    apart(), step(one_room=True), step(one_room=False)
    for _ in range(parser.parse_args().seconds):
        far = median(apart() for _ in range(3))
        one, own = (step(one_room=answer) for answer in (True, False))
        print(f"{far:4.0f} ns apart; {one:5.1f} ms in one room, {own:5.1f} ms each in its own")
        time.sleep(max(0.0, 1 - (one + own) / 1e3))


if __name__ == "__main__":
    main()
