"""Forward and backward of every loss on a CPU, against its peers and against the bare products.

    python benchmarks/cpu.py --out benchmarks/results/loss_cpu.json
    python benchmarks/cpu.py --forms one-way --sizes 64,128 --dims 256 --tau 0.01

Contestants take turns in one process, in a new order each time, with an encoder's step between any
two that is not timed; a row has the median seconds of each. Before that, each must agree with
nearfar at N = 64. Every row has a process of its own, and what torch.compile makes takes turns with
nearfar alone and last: its hooks slow all Python down, a step of 64 rows of nearfar's by a tenth.
The bare products, too, take turns with nearfar alone: the large matrices of others leave memory and
caches as no training does, which costs nearfar 2 to 4 % of its time and the products nothing.

Small batches are made of overhead, most of it code that the encoder's step has driven out of the
caches. Contestants that are made of the same operations would find them brought back by each other,
which no training does: up to 1,024 rows, each takes turns with nearfar alone.

Embeddings are random, but at low temperatures: there partners are near, as training leaves them.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from itertools import product
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from bare import products, roofline, whole
from between import EncoderStep
from dense import nearfar
from field import FORMS, Contestant, Loss, field, given
from machine import describe, memory
from torch import Tensor
from torch.nn import functional

from nearfar.loss import loops
from nearfar.loss._engine import EXACT_TO
from nearfar.loss.push import _sums

TAU = 0.07
TABLE = tuple(product(FORMS[:3], (4096, 8192), (128, 256, 512), (TAU,)))
SWEEP = tuple(product(FORMS, (2**power for power in range(6, 17)), (256,), (TAU,)))
# In the larger of these, others take seconds a step, and half a minute in the other forms.
COLD = tuple(product(FORMS, (256, 1024), (256,), (0.01,))) + tuple(
    product(FORMS[:2], (4096,), (256,), (0.01,))
)
# From this many rows on, 3 runs will do; from the second number on, one without a warm-up.
FEW_FROM, ONCE_FROM = 16384, 32768
# Up to this many rows, contestants meet nearfar one by one.
PAIRS_TO = 1024
# So many times nearfar's time is slow: about 5 runs will do.
SLOW = 10
BF16 = "nearfar, bf16"
WITHOUT = "nearfar, no numba"
COMPILED = "PyTorch, compiled"

Row = dict[str, Any]


def batch(form: str, n: int, d: int, *, trained: bool = False) -> tuple[Tensor, ...]:
    """Rows of length one that want gradients, partners apart as all others are.

    Args:
        form: Which takes two batches, or one.
        n: Rows.
        d: Columns.
        trained: Partners are at a cosine of 0.9, as encoders put them that have learned.
    """
    torch.manual_seed(0)
    q, k = (functional.normalize(torch.randn(n, d)) for _ in range(2))
    if trained:
        k = functional.normalize(q + math.sqrt(1 / 0.9**2 - 1) * k)
    return tuple(rows.requires_grad_() for rows in given(form, q, k))


def step(loss: Loss, *rows: Tensor) -> float:
    """Forward and backward; the loss."""
    for each in rows:
        each.grad = None
    value = loss(*rows)
    if value.requires_grad:
        value.backward()
    return value.item()


def without_numba(run: Callable[[], object]) -> Callable[[], object]:
    """The same by PyTorch's operations alone."""

    def go() -> None:
        with patch.object(loops, "LEAST", 2**62):
            run()

    return go


def turns(
    runs: dict[str, Callable[[], object]],
    between: Callable[[], object],
    seconds: float,
    least: int,
    once: bool,
) -> dict[str, Any]:
    """Medians of everyone's runs, one after the other; a few at least, and many while cheap."""
    if COMPILED in runs:
        runs[COMPILED]()  # which compiles
    taken: dict[str, list[float]] = {name: [] for name in runs}
    order = Random(0)

    def go(names: Iterable[str]) -> None:
        names = list(names)
        order.shuffle(names)
        for name in names:
            between()
            begin = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - begin)

    gc.collect()
    gc.disable()
    go(runs)
    if not once:
        go(runs)  # the first round compiled
        cost = {name: times.pop() for name, times in taken.items()}
        quick = [name for name in runs if cost[name] < SLOW * cost["nearfar"]]
        rounds = max(least, min(200, round(seconds / sum(cost[name] for name in quick))))
        for times in taken.values():
            times.clear()
        for number in range(rounds):
            go(quick if number % (rounds // least) else runs)
    gc.enable()
    return {
        "repeats": len(taken["nearfar"]),
        "seconds": {name: median(times) for name, times in taken.items()},
    }


def measure(
    form: str, n: int, d: int, tau: float, names: Collection[str], seconds: float, threads: int
) -> Row:
    """One row."""
    torch.set_num_threads(threads)
    present, _ = field(form, tau, names)
    fits = {one: loss for one, loss in present.items() if one.bytes(n) < 0.7 * memory()}
    rows = batch(form, n, d, trained=tau < TAU)
    runs: dict[str, Callable[[], object]] = {
        one.name: lambda loss=loss: step(loss, *rows) for one, loss in fits.items()
    }
    row: Row = {"form": form, "n": n, "d": d, "tau": tau}
    try:
        coarse = nearfar(form, tau, products="bf16")
    except TypeError:  # not there yet
        coarse = None
    if n**2 >= loops.LEAST:
        runs[WITHOUT] = without_numba(runs["nearfar"])
    if coarse and n > EXACT_TO:
        runs[BF16] = lambda: step(coarse, *rows)
        if n <= 8192:
            row["bf16_gradient_error"] = gradient_error(coarse, nearfar(form, tau), *rows)
    compiled = {name: runs.pop(name) for name in (COMPILED,) if name in runs}
    how = EncoderStep(n), seconds, 3 if n >= FEW_FROM else 5, n >= ONCE_FROM
    if n >= ONCE_FROM:
        compile_loops(form, [loss for loss in (nearfar(form, tau), coarse) if loss], d)
    own = {"nearfar": runs["nearfar"]}
    bare = products(*torch.cat(rows).chunk(2))
    row["alone"] = whole(turns(own | bare, *how)["seconds"], n)
    if n > PAIRS_TO:
        row |= turns(runs, *how)
    else:
        others = [name for name in runs if name != "nearfar"]
        pairs = {name: turns(own | {name: runs[name]}, *how)["seconds"] for name in others}
        typical = median(each["nearfar"] for each in (row["alone"], *pairs.values()))
        seconds = {"nearfar": typical} | {name: pair[name] for name, pair in pairs.items()}
        row |= {"pairs": pairs, "seconds": seconds}
    if compiled:
        row["compiled"] = turns(own | compiled, *how)["seconds"]
    return row | {"too_large": [one.name for one in present if one not in fits]}


def compile_loops(form: str, losses: Collection[Loss], d: int) -> None:
    """Once on a machine, as torch.compile's: those of batches whose tiles are not kept, too."""
    rows = batch(form, 2048, d)
    for keep in (_sums.KEEP, 0):
        with patch.object(_sums, "KEEP", keep):
            for loss in losses:
                step(loss, *rows)


def gradient_error(loss: Loss, reference: Loss, *rows: Tensor) -> float:
    """Relative, of all inputs together."""

    def gradient(of: Loss) -> Tensor:
        # Whose squares may be small, too.
        return torch.cat(torch.autograd.grad(of(*rows), rows)).double()

    wanted = gradient(reference)
    return float((gradient(loss) - wanted).norm() / wanted.norm())


def best_peer(row: Row) -> str:
    """The fastest of the others, as they are."""
    others = [name for name in row["seconds"] if not name.startswith("nearfar")]
    return min(others, key=lambda name: ratio(row, name) or 0.0, default="")


def ratio(row: Row, name: str) -> float | None:
    """A contestant's time in units of nearfar's."""
    pairs = row.get("pairs", {})
    times = row.get("compiled", {}) if name == COMPILED else pairs.get(name, row["seconds"])
    return times[name] / times["nearfar"] if name in times else None


def everyone(row: Row) -> dict[str, float]:
    """Seconds by name, of what torch.compile makes, too."""
    return row["seconds"] | {n: s for n, s in row.get("compiled", {}).items() if n == COMPILED}


def agree(form: str, tau: float, names: Collection[str]) -> dict[str, Contestant]:
    """Everyone present, by name, all with nearfar's value; nobody without nearfar."""
    present, absent = field(form, tau, names)
    for line in absent:
        print(f"absent: {line}")
    rows = batch(form, 64, 128)
    values = {one.name: step(loss, *rows) for one, loss in present.items()}
    if "nearfar" not in values:
        return {}
    for name, value in values.items():
        if abs(value - values["nearfar"]) > 1e-4:
            raise SystemExit(f"{name}, {form}, is another loss: {values}")
    return {one.name: one for one in present}


def show(row: Row) -> None:
    """One line a row."""
    times = sorted(everyone(row).items(), key=lambda pair: pair[1])
    ahead = ratio(row, best_peer(row))
    print(
        f"{row['form']:9} N={row['n']:<6} d={row['d']:<4} tau={row['tau']:<5}",
        f"ratio {ahead:5.2f}" if ahead else "ratio     -",
        f"roofline {roofline(row):4.0%} |",
        ", ".join(f"{name} {1000 * s:.4g} ms" for name, s in times),
        flush=True,
    )


def cells(words: argparse.Namespace) -> Iterator[tuple[str, int, int, float]]:
    """The grid: form, N, D, temperature; each once."""
    grid = TABLE + SWEEP + COLD
    if words.sizes or words.dims or words.tau:
        sizes, dims = words.sizes or "4096,8192", words.dims or "256"
        grid = tuple(
            product(
                FORMS, map(int, sizes.split(",")), map(int, dims.split(",")), (words.tau or TAU,)
            )
        )
    forms = words.forms.split(",") if words.forms else FORMS
    for cell in dict.fromkeys(grid):
        if cell[0] in forms and (cell[1] <= 8192 or not words.quick):
            yield cell


def main() -> None:
    """Check, then time cell after cell; the file is written after each, and gone on with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forms", help=f"some of {','.join(FORMS)}")
    parser.add_argument("--sizes", help="N, as in 64,128; with this, dims or tau: just those")
    parser.add_argument("--dims")
    parser.add_argument("--tau", type=float)
    parser.add_argument("--names", help="some of the contestants, with ; between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20, help="wanted, a cell")
    parser.add_argument("--quick", action="store_true", help="no N above 8192")
    parser.add_argument("--out", type=Path, help="cells that it holds already are left out")
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    grid = list(cells(words))
    names = {"nearfar", *words.names.split(";")} if words.names else ()
    known = {form: agree(form, TAU, names) for form in dict.fromkeys(cell[0] for cell in grid)}
    versions = {one.package: one.version() for form in known.values() for one in form.values()}
    versions["numba"] = metadata.version("numba")
    rows: list[Row] = []
    if words.out and words.out.is_file():
        rows = json.loads(words.out.read_text())["rows"]
    done = {(row["form"], row["n"], row["d"], row["tau"]) for row in rows}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as alone:
        for cell in grid:
            if known[cell[0]] and cell not in done:
                given = (*cell, names, words.seconds, words.threads)
                rows.append(alone.submit(measure, *given).result())
                show(rows[-1])
            if words.out:
                found = describe() | {"versions": versions, "rows": rows}
                words.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
