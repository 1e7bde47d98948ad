"""What the loss costs in PyTorch's operations without a library around them.

    python benchmarks/floor.py --out benchmarks/results/loss_floor.json

The same products as nearfar's, tile by tile, with one exponential and the sums they need, and rows
scaled to length one before and gradients after (but CLIP's): written down once more, with all room
taken beforehand and without checks, options, autograd or care for small losses. It takes turns with
nearfar and plain PyTorch, as in `cpu.py`.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import torch
from bare import products, whole
from between import EncoderStep
from cpu import TAU, batch, step, turns
from dense import nearfar
from field import FORMS, field
from machine import describe
from torch import Tensor

FORTH = torch.ops.aten._weight_norm_interface.default
BACK = torch.ops.aten._weight_norm_interface_backward.default

# Rows and columns of a tile, and whether it stands for its transpose, too.
Tile = tuple[slice, slice, bool]


def rectangle(rows: slice, columns: slice, height: int, width: int, twice: bool) -> list[Tile]:
    """Tiles, stripe after stripe."""
    return [
        (
            slice(top, min(top + height, rows.stop)),
            slice(left, min(left + width, columns.stop)),
            twice,
        )
        for top in range(rows.start, rows.stop, height)
        for left in range(columns.start, columns.stop, width)
    ]


def triangle(first: int, last: int, least: int) -> list[Tile]:
    """On and above the diagonal: two triangles of half the side, and a square."""
    if last - first <= least:
        return [(slice(first, last), slice(first, last), False)]
    middle = (first + last) // 2
    square = rectangle(slice(first, middle), slice(middle, last), 2048, 1024, True)
    return [*triangle(first, middle, least), *square, *triangle(middle, last, least)]


class Floor:
    """Gradients of the mean loss by q and k.

    Args:
        form: One way takes whole stripes, and has the gradient of one before the next.
        n: Rows, a power of two.
        d: Columns.
    """

    def __init__(self, form: str, n: int, d: int) -> None:
        self.form = form
        self.both, count = form == "symmetric", 2 * n if form == "NT-Xent" else n
        everything = slice(0, count)
        if form == "NT-Xent":
            self.cut = triangle(0, count, count // 8)
        else:
            height, width = (2048, 1024) if self.both else (1024, n)
            self.cut = rectangle(everything, everything, height, width, self.both)
        sizes = [(r.stop - r.start, c.stop - c.start) for r, c, _ in self.cut]
        self.scratch = torch.empty(max(h * w for h, w in sizes))
        # One way, every stripe lies in the same place.
        self.tiles = [(self.room if form == "one-way" else torch.empty)(size) for size in sizes]
        self.one, self.sums = torch.ones(count, 1), torch.empty(2, count)
        self.grad, self.lying = torch.empty(count, d), torch.empty(d, count)

    def room(self, size: tuple[int, int]) -> Tensor:
        """A tile's, in scratch."""
        return self.scratch[: size[0] * size[1]].view(size)

    def __call__(self, q: Tensor, k: Tensor) -> list[Tensor]:
        """Both gradients."""
        share = 1 / (len(self.one) * TAU * (2 if self.form == "symmetric" else 1))
        if self.form == "symmetric":  # CLIP's rows are taken as they are
            self.of_units(q, k)
            return [self.grad.mul_(share), self.lying.T.contiguous().mul_(share)]
        each = self.one * share
        if self.form == "NT-Xent":
            rows = torch.cat([q, k])
            unit, length = FORTH(rows, self.one, 0)
            self.of_units(unit, unit)
            self.grad.add_(self.lying.T)
            return list(BACK(self.grad, rows, each, length, 0)[0].chunk(2))
        one = each[: len(q)]
        (q_unit, q_length), (k_unit, k_length) = (FORTH(x, self.one, 0) for x in (q, k))
        self.of_units(q_unit, k_unit)
        grad_k = self.lying.T.contiguous()
        return [BACK(self.grad, q, one, q_length, 0)[0], BACK(grad_k, k, one, k_length, 0)[0]]

    def of_units(self, q: Tensor, k: Tensor) -> None:
        """Gradients but for a factor, of rows as they are: ``grad``, and ``lying`` on its side."""
        self.sums.zero_()
        self.grad.zero_()
        self.lying.zero_()
        scaled = q * (math.log2(math.e) / TAU)
        for (rows, columns, twice), tile in zip(self.cut, self.tiles, strict=True):
            torch.mm(scaled[rows], k[columns].T, out=tile).exp2_()
            if q is k and not twice:
                tile.fill_diagonal_(0.0)
            self.sums[0, rows] += tile.sum(1)
            if twice:
                self.sums[int(self.both), columns] += tile.sum(0)
            if self.form == "one-way":
                self.stripe(q, k, rows, tile)
        if self.form != "one-way":
            self.backward(q, k)

    def stripe(self, q: Tensor, k: Tensor, rows: slice, tile: Tensor) -> None:
        """A row's factor goes to its query, which is smaller than its tile."""
        sums = self.sums[0, rows]
        tile.diagonal(rows.start).sub_(sums)
        weight = sums.reciprocal()[:, None]
        self.grad[rows].addmm_(tile, k).mul_(weight)
        self.lying.addmm_((q[rows] * weight).T, tile)

    def backward(self, q: Tensor, k: Tensor) -> None:
        """The forces of all tiles, and what they do."""
        half = len(q) // 2 if q is k else 0
        row, column = (self.sums.reciprocal()[side] for side in (0, int(self.both)))
        for (rows, columns, twice), tile in zip(self.cut, self.tiles, strict=True):
            force = torch.add(row[rows, None], column[columns], out=self.room(tile.shape))
            force.mul_(tile)
            offset = rows.start + half - columns.start
            if -force.shape[0] < offset < force.shape[1]:
                force.diagonal(offset).sub_(2)
            self.grad[rows].addmm_(force, k[columns])
            if twice:
                self.lying[:, columns].addmm_(q[rows].T, force)


def measure(form: str, n: int, d: int, seconds: float) -> dict[str, Any]:
    """One row."""
    q, k = batch(form, n, d)
    floor, loss = Floor(form, n, d), nearfar(form, TAU)
    x, y = q.detach(), k.detach()
    wanted = torch.cat(torch.autograd.grad(loss(q, k), (q, k)))
    error = float((torch.cat(floor(x, y)) - wanted).norm() / wanted.norm())
    if error > 1e-4:
        raise SystemExit(f"the floor computes another gradient, off by {error}")
    plain = next(make for one, make in field(form, TAU, ("PyTorch",))[0].items())
    runs = {
        "nearfar": lambda: step(loss, q, k),
        "PyTorch": lambda: step(plain, q, k),
        "floor": lambda: floor(x, y),
    }
    how = EncoderStep(n), seconds, 5, False
    row = {"form": form, "n": n, "d": d} | turns(runs, *how)
    own = {"nearfar": runs["nearfar"]}
    return row | {"alone": whole(turns(own | products(x, y), *how)["seconds"], n)}


def main() -> None:
    """Cell after cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="wanted, a cell")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    rows = []
    for form, n, d in product(FORMS[:3], (4096, 8192), (128, 256, 512)):
        rows.append(measure(form, n, d, words.seconds))
        times = {name: f"{1000 * time:.4g} ms" for name, time in rows[-1]["seconds"].items()}
        print(form, n, d, times, flush=True)
    if words.out:
        words.out.write_text(json.dumps(describe() | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
