"""Mutual information on the 40 tasks of Czyz et al. 2023, and where InfoNCE saturates.

    python benchmarks/mutual_information.py --seeds 0,1,2 --minutes 60

writes and resumes benchmarks/results/mutual_information.json; without --minutes it ends when all
is done, and --show prints the table of what is there. The tasks are made here from their
definitions (arXiv 2306.11078, appendix D) with closed-form truths.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from machine import describe
from numpy.random import Generator
from scipy.special import digamma, gammaln, ndtr

from nearfar.anatomy.information import (
    donsker_varadhan,
    info_nce_bound,
    mutual_information,
    nwj,
    smile,
)

Array = np.ndarray
Draw = Callable[[Generator, int], tuple[Array, Array]]
Task = tuple[Draw, float]
Row = dict[str, Any]

PAIRS = 10_000
CRITICS = ("copula", "plain")
RHO = 0.75
# Of the staircase: nats, and candidates with the positive.
STAIRS, CROWDS, WIDTH, GAMES = (2, 4, 6, 8, 10), (64, 256, 1024, 4096), 20, 16384
OUT = Path(__file__).parent / "results" / "mutual_information.json"


def normal(covariance: Array, dim_x: int) -> Task:
    """Jointly normal."""
    root = np.linalg.cholesky(covariance)

    def draw(rng: Generator, count: int) -> tuple[Array, Array]:
        both = rng.standard_normal((count, len(covariance))) @ root.T
        return both[:, :dim_x], both[:, dim_x:]

    parts = (covariance[:dim_x, :dim_x], covariance[dim_x:, dim_x:], covariance)
    x, y, both = (float(np.linalg.slogdet(part)[1]) for part in parts)
    return draw, (x + y - both) / 2


def dense(dim: int) -> Task:
    """Every two numbers have correlation 0.5."""
    return normal(np.full((2 * dim, 2 * dim), 0.5) + np.eye(2 * dim) / 2, dim)


def pairwise(dim: int, rho: float, pairs: int) -> Task:
    """The first few coordinates correlate, each with its partner."""
    covariance = np.eye(2 * dim)
    for i in range(pairs):
        covariance[i, dim + i] = covariance[dim + i, i] = rho
    return normal(covariance, dim)


def student(dim_x: int, dim_y: int, freedom: int) -> Task:
    """A t distribution with dispersion I: the two share nothing but their scale."""

    def draw(rng: Generator, count: int) -> tuple[Array, Array]:
        both = rng.standard_normal((count, dim_x + dim_y))
        both /= np.sqrt(rng.chisquare(freedom, (count, 1)) / freedom)
        return both[:, :dim_x], both[:, dim_x:]

    def f(t: float) -> float:
        return float(gammaln(t / 2) - t / 2 * digamma(t / 2))

    v, m, n = freedom, dim_x, dim_y
    return draw, f(v) + f(v + m + n) - f(v + m) - f(v + n)


def additive(width: float) -> Task:
    """Uniform, plus uniform noise within +-width."""

    def draw(rng: Generator, count: int) -> tuple[Array, Array]:
        x = rng.uniform(size=(count, 1))
        return x, x + rng.uniform(-width, width, (count, 1))

    return draw, width - math.log(2 * width) if width <= 0.5 else 1 / (4 * width)


def mapped(task: Task, to_x: Callable[[Array], Array], to_y: Callable[[Array], Array]) -> Task:
    """Either side through an injective map, which keeps the information."""
    draw, truth = task

    def moved(rng: Generator, count: int) -> tuple[Array, Array]:
        x, y = draw(rng, count)
        return to_x(x), to_y(y)

    return moved, truth


def half_cube(x: Array) -> Array:
    """A longer tail."""
    return x * np.sqrt(np.abs(x))


def wiggly_x(x: Array) -> Array:
    """Rising, with waves."""
    return x + 0.4 * np.sin(x) + 0.2 * np.sin(1.7 * x + 1) + 0.03 * np.sin(3.3 * x - 2.5)


def wiggly_y(y: Array) -> Array:
    """Rising, with other waves."""
    return y - 0.4 * np.sin(0.4 * y) + 0.17 * np.sin(1.3 * y + 3.5) + 0.02 * np.sin(4.3 * y - 2.5)


def two_humps(share: float, low: float, high: float) -> Callable[[Array], Array]:
    """Standard normal to a mixture of two normals, by its quantiles."""
    grid = np.linspace(-12, 17, 200_001)
    below = share * ndtr(grid - low) + (1 - share) * ndtr(grid - high)
    return lambda x: np.interp(ndtr(x), below, grid)


def swiss_roll(u: Array) -> Array:
    """A number in [0, 1] to a point on a roll in the plane."""
    t = 1.5 * np.pi * (1 + 2 * u)
    return np.hstack([t * np.cos(t), t * np.sin(t)]) / 21


def spiral(first: int) -> Callable[[Array], Array]:
    """Turn a plane by the squared length over the dimension."""

    def turn(x: Array) -> Array:
        angle = np.square(x).sum(1) / x.shape[1]
        a, b = x[:, first], x[:, first + 1]
        out = x.copy()
        out[:, first] = np.cos(angle) * a - np.sin(angle) * b
        out[:, first + 1] = np.sin(angle) * a + np.cos(angle) * b
        return out

    return turn


def spiralled(task: Task) -> Task:
    """x turns in its first plane, y in its second."""
    return mapped(task, spiral(0), spiral(1))


def tasks() -> dict[str, Task]:
    """All 40."""

    def both(task: Task, change: Callable[[Array], Array]) -> Task:
        return mapped(task, change, change)

    bivariate, cauchy = pairwise(1, RHO, 1), student(1, 1, 1)
    found = {
        "normal 1x1": bivariate,
        "uniform margins 1x1": both(bivariate, ndtr),
        "additive 0.1": additive(0.1),
        "additive 0.75": additive(0.75),
        "bimodal 1x1": mapped(bivariate, two_humps(0.3, 0, 5), two_humps(0.5, -1, 3)),
        "wiggly 1x1": mapped(bivariate, wiggly_x, wiggly_y),
        "half-cube 1x1": both(bivariate, half_cube),
        "student 1x1 df 1": cauchy,
        "asinh student 1x1 df 1": both(cauchy, np.arcsinh),
        "swiss roll 2x1": mapped(bivariate, lambda x: swiss_roll(ndtr(x)), ndtr),
    }
    found |= {f"dense {d}x{d}": dense(d) for d in (2, 3, 5, 25, 50)}
    found |= {f"sparse {d}x{d}": pairwise(d, 0.8, 2) for d in (2, 3, 5, 25)}
    shapes = ((2, 1), (2, 2), (3, 2), (3, 3), (5, 2), (5, 3))
    found |= {f"student {d}x{d} df {v}": student(d, d, v) for d, v in shapes}
    sparse = {d: pairwise(d, 0.8, 2) for d in (3, 5, 25)}
    found |= {f"uniform sparse {d}x{d}": both(task, ndtr) for d, task in sparse.items()}
    found |= {f"half-cube sparse {d}x{d}": both(task, half_cube) for d, task in sparse.items()}
    found |= {f"spiral sparse {d}x{d}": spiralled(task) for d, task in sparse.items()}
    found |= {
        f"spiral uniform sparse {d}x{d}": spiralled(both(task, ndtr)) for d, task in sparse.items()
    }
    found |= {
        f"asinh student {d}x{d} df {v}": both(student(d, d, v), np.arcsinh)
        for d, v in ((2, 1), (3, 2), (5, 2))
    }
    return found


def measure(name: str, task: Task, seed: int, critic: str) -> list[Row]:
    """One estimate; the data differ by task and seed, and are the same for both critics."""
    draw, truth = task
    rng = np.random.default_rng([seed, *name.encode()])
    start = time.process_time()
    found = mutual_information(*draw(rng, PAIRS), seed=seed, critic=critic)
    row = {
        "task": name,
        "seed": seed,
        "critic": critic,
        "truth": truth,
        "nats": found.nats,
        "low": found.low,
        "high": found.high,
        "saturated": found.saturated,
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    return [row]


def stairs(truth: float, crowd: int) -> list[Row]:
    """With the exact critic: normal pairs of so many nats, games of so many candidates."""
    rho = math.sqrt(1 - math.exp(-2 * truth / WIDTH))
    draw, _ = pairwise(WIDTH, rho, WIDTH)
    rng = np.random.default_rng([truth, crowd])
    losses, positives, negatives = [], [], []
    for _ in range(GAMES // crowd):
        x, y = (torch.from_numpy(side) for side in draw(rng, crowd))
        rest = 1 - rho**2
        own = [rho**2 * side.square().sum(1) / (2 * rest) for side in (x, y)]
        score = rho / rest * (x @ y.T) - own[0][:, None] - own[1] - WIDTH / 2 * math.log(rest)
        losses.append(score.logsumexp(1) - score.diagonal())
        positives.append(score.diagonal())
        # A row's other candidates, its partner left out.
        negatives.append(score[~torch.eye(crowd, dtype=torch.bool)].reshape(crowd, crowd - 1))
    games = list(zip(positives, negatives, strict=True))
    found = {"InfoNCE": [info_nce_bound(torch.cat(losses), crowd)]}
    found["NWJ"] = [nwj(joint + 1, noise + 1) for joint, noise in games]
    found["DV"] = [donsker_varadhan(*game) for game in games]
    found["SMILE"] = [smile(*game) for game in games]
    return [
        {
            "truth": truth,
            "candidates": crowd,
            "estimator": name,
            "nats": float(np.mean([one.nats for one in each])),
            "spread": float(np.std([one.nats for one in each])) if len(each) > 1 else None,
            "saturated": all(one.saturated for one in each),
        }
        for name, each in found.items()
    ]


def climbed(truth: float, seed: int) -> list[Row]:
    """The same pairs with a critic that is learned."""
    rho = math.sqrt(1 - math.exp(-2 * truth / WIDTH))
    (row,) = measure(f"staircase {truth}", pairwise(WIDTH, rho, WIDTH), seed, "copula")
    return [row | {"truth": truth}]


def table(rows: list[Row]) -> list[str]:
    """Means over the seeds, a line a task, then the totals over all values."""
    lines = [f"{'task':<30}{'truth':>8}" + "".join(f"{critic:>9}" for critic in CRITICS)]
    for name, (_, truth) in tasks().items():
        cells = []
        for critic in CRITICS:
            here = [r["nats"] for r in rows if (r["task"], r["critic"]) == (name, critic)]
            cells.append(f"{np.mean(here):9.3f}" if here else f"{'-':>9}")
        lines.append(f"{name:<30}{truth:8.3f}{''.join(cells)}")
    for critic in CRITICS:
        lines += totals([row for row in rows if row["critic"] == critic], critic)
    return lines


def totals(rows: list[Row], critic: str) -> list[str]:
    """Errors of single estimates, none averaged away."""
    errors = np.array([row["nats"] - row["truth"] for row in rows])
    if not len(errors):
        return []
    seconds = np.mean([row["cpu_seconds"] for row in rows])
    return [
        f"{critic}: {len(errors)} estimates, seeds {sorted({row['seed'] for row in rows})}: mean "
        f"absolute error {np.abs(errors).mean():.4f}, within .05: {(np.abs(errors) < 0.05).sum()}, "
        f"below truth + .02: {(errors < 0.02).mean():.1%}, mean error {errors.mean():+.4f}, worst "
        f"{errors[np.abs(errors).argmax()]:+.3f}, {seconds:.1f} CPU-seconds each"
    ]


def steps(exact: list[Row], learned: list[Row]) -> list[str]:
    """The staircase: what each formula says at each height; * where flagged as saturated."""
    lines = ["", f"{'staircase':<30}" + "".join(f"{nats:>9}" for nats in STAIRS)]
    named = {f"{row['estimator']}, K = {row['candidates']}, exact": [] for row in exact}
    named["learned, K = 5000"] = learned
    for row in exact:
        named[f"{row['estimator']}, K = {row['candidates']}, exact"].append(row)
    for name, rows in named.items():
        cells = []
        for nats in STAIRS:
            here = [row for row in rows if row["truth"] == nats]
            mean = np.mean([row["nats"] for row in here]) if here else math.nan
            cells.append(f"{mean:8.2f}" + ("*" if any(r["saturated"] for r in here) else " "))
        lines.append(f"{name:<30}" + "".join(cells))
    return lines


def main() -> None:
    """Measure what is missing, write after each, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--critics", default=",".join(CRITICS))
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after them")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    words = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Row]] = {"rows": [], "staircase": [], "exact": []}
    if words.out.is_file():
        found |= {part: json.loads(words.out.read_text())[part] for part in found}
    head = describe() | {"numpy": np.__version__, "scipy": scipy.__version__, "pairs": PAIRS}
    end = time.monotonic() + 60 * (0 if words.show else words.minutes)

    def grow(part: str, key: Row, make: Callable[..., list[Row]], *given: Any) -> None:
        there = any(all(row[name] == value for name, value in key.items()) for row in found[part])
        if not there and time.monotonic() < end:
            found[part] += make(*given)
            words.out.write_text(json.dumps(head | found, indent=1) + "\n")

    for nats, crowd in product(STAIRS, CROWDS):
        grow("exact", {"truth": nats, "candidates": crowd}, stairs, nats, crowd)
    seeds = [int(seed) for seed in words.seeds.split(",")]
    suite = tasks()
    for seed, critic, name in product(seeds, words.critics.split(","), suite):
        key = {"task": name, "seed": seed, "critic": critic}
        grow("rows", key, measure, name, suite[name], seed, critic)
    for seed, nats in product(seeds, STAIRS):
        grow("staircase", {"truth": nats, "seed": seed}, climbed, nats, seed)
    print("\n".join(table(found["rows"]) + steps(found["exact"], found["staircase"])))


if __name__ == "__main__":
    main()
