"""What the loss costs without a library around it: what eager PyTorch leaves to be won.

    python benchmarks/floor.py --out benchmarks/results/loss_floor.json

The same products as nearfar's, tile by tile, with one exponential and the sums they need, and one
way with rows scaled to length one before and gradients after: written down once more for two forms,
with all room taken beforehand and without checks, options, autograd or care for small losses. It
takes turns with nearfar and plain PyTorch, as in `cpu.py`.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import torch
from between import EncoderStep
from cpu import TAU, bare, batch, step, turns
from dense import nearfar
from field import field
from machine import describe
from torch import Tensor

SIDE = 2048, 1024  # of a tile
FORTH = torch.ops.aten._weight_norm_interface.default
BACK = torch.ops.aten._weight_norm_interface_backward.default


class Floor:
    """Gradients of the mean loss, by q and k, one way or both.

    Args:
        n: Rows, a multiple of the tiles' sides.
        d: Columns.
        both: Symmetric; else one way.
    """

    def __init__(self, n: int, d: int, *, both: bool) -> None:
        self.both = both
        self.rows = [slice(top, top + SIDE[0]) for top in range(0, n, SIDE[0])]
        self.columns = [slice(left, left + SIDE[1]) for left in range(0, n, SIDE[1])]
        self.tiles = torch.empty(len(self.rows), len(self.columns), *SIDE)
        self.scratch, self.one = torch.empty(SIDE), torch.ones(n, 1)
        self.sums, self.grad_q, self.lying = torch.empty(2, n), torch.empty(n, d), torch.empty(d, n)

    def __call__(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Both gradients."""
        share = 1 / (len(q) * TAU * (2 if self.both else 1))
        if self.both:  # CLIP's rows are taken as they are
            grad_q, grad_k = self.of_units(q, k)
            return grad_q.mul_(share), grad_k.mul_(share)
        (q_unit, q_length), (k_unit, k_length) = (FORTH(x, self.one, 0) for x in (q, k))
        grad_q, grad_k = self.of_units(q_unit, k_unit)
        each = self.one * share
        return BACK(grad_q, q, each, q_length, 0)[0], BACK(grad_k, k, each, k_length, 0)[0]

    def of_units(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients but for a factor, of rows as they are."""
        weight = self.forward(q * (math.log2(math.e) / TAU), k)
        self.backward(q, k, weight)
        return self.grad_q, self.lying.T.contiguous()

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """One over the sum of exponentials, for each row and each column."""
        self.sums.zero_()
        for (i, rows), (j, columns) in product(enumerate(self.rows), enumerate(self.columns)):
            tile = self.tiles[i, j]
            torch.mm(q[rows], k[columns].T, out=tile).exp2_()
            self.sums[0, rows] += tile.sum(1)
            if self.both:
                self.sums[1, columns] += tile.sum(0)
        return self.sums.reciprocal()

    def backward(self, q: Tensor, k: Tensor, weight: Tensor) -> None:
        """Into ``grad_q`` and ``lying``, the other gradient on its side."""
        for (i, rows), (j, columns) in product(enumerate(self.rows), enumerate(self.columns)):
            if self.both:
                torch.add(weight[0, rows, None], weight[1, columns], out=self.scratch)
                force = self.scratch.mul_(self.tiles[i, j])
            else:
                force = self.tiles[i, j].mul_(weight[0, rows, None])
            top = max(rows.start, columns.start)
            if top < min(rows.stop, columns.stop):
                own = force[top - rows.start :, top - columns.start :].diagonal()
                own -= 2 if self.both else 1
            to, beta = self.grad_q[rows], float(j > 0)
            torch.addmm(to, force, k[columns], beta=beta, out=to)
            to, beta = self.lying[:, columns], float(i > 0)
            torch.addmm(to, q[rows].T, force, beta=beta, out=to)


def measure(form: str, n: int, d: int, seconds: float) -> dict[str, Any]:
    """One row."""
    q, k = batch(n, d)
    floor, loss = Floor(n, d, both=form == "symmetric"), nearfar(form, TAU)
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
        "product": bare(x, y)["whole"],
    }
    return {"form": form, "n": n, "d": d} | turns(runs, EncoderStep(n), seconds, 5, False)


def main() -> None:
    """Cell after cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="wanted, a cell")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    rows = []
    for form, n, d in product(("one-way", "symmetric"), (4096, 8192), (128, 256, 512)):
        rows.append(measure(form, n, d, words.seconds))
        times = {name: f"{1000 * time:.4g} ms" for name, time in rows[-1]["seconds"].items()}
        print(form, n, d, times, flush=True)
    if words.out:
        words.out.write_text(json.dumps(describe() | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
