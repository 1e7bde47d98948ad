"""Bare matrix products: what a loss on a CPU cannot be faster than.

Every form is made of three kinds, with the same number of operations and not of the same speed:
similarities, Q K^T, whose result is large; and of the forces F, which are as large, the gradients
F K and F^T Q. Of each kind the fastest way counts that we know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nearfar.loss.push._product import _one_dnn as one_dnn_if_faster
from nearfar.loss.push._product import add_product, add_turned, loops_multiply, similarities

KINDS = ("similarities", "query", "key")
# Products of N x N x D that a form needs of each kind, and float32 N x N matrices that hold its
# tiles: NT-Xent and SupCon have half a matrix of (2N) x (2N).
UNITS = {"one-way": 1, "symmetric": 1, "NT-Xent": 2, "SupCon": 2, "SigLIP": 1}
# Similarities that are not kept for the backward pass are computed again by these.
AGAIN = ("symmetric", "NT-Xent", "SupCon")
# Exponentiated tiles are kept up to this many bytes (`nearfar.loss`).
KEEP = 512 * 2**20
TILES = ((1024, 1024), (2048, 1024), (4096, 1024))
# Rows that are multiplied; the time for more is reckoned from it.
MOST = 4096


def products(q: Tensor, k: Tensor) -> dict[str, Callable[[], object]]:
    """One product of each kind, in several ways.

    Args:
        q: (N, D).
        k: (N, D).
    """
    q, k = (x.detach()[:MOST] for x in (q, k))
    n, d = q.shape
    force, upright, lying = torch.rand(n, n), q.new_empty(n, d), q.new_empty(d, n)
    ways: dict[str, Callable[[], object]] = {
        "similarities, whole": lambda: torch.mm(q, k.T, out=force),
        "query, whole": lambda: torch.mm(force, k, out=upright),
        "key, whole": lambda: torch.mm(force.T, q, out=upright),
        "key, whole, lying": lambda: torch.mm(q.T, force, out=lying),
    }
    for sides in TILES:
        height, width = (min(n, side) for side in sides)
        ways |= _tiles(q, k, upright, lying, height, width)
    return ways


def _tiles(
    q: Tensor, k: Tensor, upright: Tensor, lying: Tensor, height: int, width: int
) -> dict[str, Callable[[], object]]:
    tile = torch.rand(height, width)
    places = [
        (slice(top, top + height), slice(left, left + width))
        for top in range(0, len(q) - height + 1, height)
        for left in range(0, len(k) - width + 1, width)
    ]

    def each(multiply: Callable[[slice, slice], object]) -> Callable[[], None]:
        def go() -> None:
            for rows, columns in places:
                multiply(rows, columns)

        return go

    linear, turned = one_dnn_if_faster(), {rows.start: q[rows].T.contiguous() for rows, _ in places}
    if linear is not None:
        ways = {
            "similarities": lambda rows, columns: linear(q[rows], k[columns]),
            "query": lambda rows, columns: linear(tile, k[columns].T),
            "key": lambda rows, columns: linear(turned[rows.start], tile.T),
        }
    else:
        ways = {
            "similarities": lambda rows, columns: similarities(q[rows], k[columns], tile, 1.0),
            "query": lambda rows, columns: add_product(
                upright[rows], tile, k[columns], 1.0, first=columns.start == 0
            ),
            "key": lambda rows, columns: add_turned(
                lying[:, columns], q[rows].T, tile, 1.0, first=rows.start == 0
            ),
        }
    if loops_multiply(q):
        from nearfar.loss.loops.similarities import similarities as by_loops

        ways["similarities, loops"] = lambda rows, columns: by_loops(
            q, k, (rows.start, columns.start, height, 0), 1.0, tile
        )
    return {f"{kind}, {height} x {width}": each(way) for kind, way in ways.items()}


def whole(seconds: Mapping[str, float], n: int) -> dict[str, float]:
    """nearfar's seconds, and those of `products` for N rows."""
    more = (n / min(n, MOST)) ** 2
    return {name: time if name == "nearfar" else more * time for name, time in seconds.items()}


def roofline(row: Mapping[str, Any]) -> float:
    """The share of nearfar's time that the products alone would take."""
    times: dict[str, float] = row["alone"]
    each = [min(time for name, time in times.items() if name.startswith(kind)) for kind in KINDS]
    units = UNITS[row["form"]]
    again = row["form"] in AGAIN and 4 * row["n"] ** 2 * units > KEEP
    total: float = units * (sum(each) + again * each[0])
    return total / times["nearfar"]
