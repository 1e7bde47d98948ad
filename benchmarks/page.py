"""docs/performance.md and its figure, from benchmarks/results: python benchmarks/page.py"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
from bare import roofline
from cpu import (
    BF16,
    COLD,
    COMPILED,
    SWEEP,
    TABLE,
    WITHOUT,
    Row,
    best_peer,
    everyone,
    ratio,
)
from ddp_exactness import HEAD as RANKS_HEAD
from ddp_exactness import cells, summary
from field import FORMS

matplotlib.use("svg")
from matplotlib import pyplot

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
FIGURE = "figures/loss_cpu.svg"
DRAWN = "symmetric"

HEAD = """# Performance

Forward and backward of each loss, gradients of both inputs, float32, against the same loss from
other libraries and against PyTorch alone. Written by benchmarks/page.py (the end of `make bench`)
from the raw medians in benchmarks/results/loss_cpu.json and loss_memory.json.

{notes}

{device}, {vectors}, {threads} threads, Python {python};
{versions}.

"PyTorch" is the best few lines we could write (`benchmarks/dense.py`), "compiled" is torch.compile
of them, without the time to compile. All contestants agree with nearfar's value at N = 64 to 1e-4,
then take turns in one process for each row, in a new order each time, with an encoder's step
between any two that is not timed; times are medians. Up to 1,024 rows, each takes turns with
nearfar alone: contestants made of the same operations bring each other's code back into the caches,
which no training does. **Ratio** is the time of the fastest other
contestant as it is over nearfar's: above 1, nearfar is faster; **no numba**, over nearfar's without
`nearfar[fast]`. **Compiled** is the same for
PyTorch's lines after torch.compile, which needs a C++ compiler and half a minute for every shape;
they take turns with nearfar alone, afterwards. **Products** is the time of the bare matrix products
the form needs over nearfar's: of similarities, and of queries' and keys' gradients, each in the
fastest way we know (`benchmarks/bare.py`), in the same process and, too, in turns with nearfar
alone.

![Time and memory against N]({figure})
"""

FLOOR = """## What is left to win

The same tiles without a library around them: all room taken beforehand, no checks, no options, no
autograd (`benchmarks/floor.py`, in turns with nearfar and PyTorch alone). Of all ways to cut the
matrix that we tried, this **floor** is the fastest of PyTorch's operations on this machine, to a
few per cent; loops compiled by numba are not bound by it. **Products** is the share of bare matrix
products in nearfar's time there.
{notes}"""

COLD_HEAD = """## Trained, at a low temperature

The same at 0.01, where CLIP's temperature ends, with partners at a cosine of 0.9 and all others
about 0, as training leaves them. The others' shares of a softmax are then around 1e-38, below which
float32 has only subnormal numbers, and a processor that meets one takes up to a hundred times as
long for a step of a matrix product. nearfar puts zero in place of all that is below 1e-24: beside
what counts, and where all losses are small the largest counts, it is nothing. SigLIP asks of every
pair on its own, and has no such shares.
"""

SIZES = "Ratios at D = 256, in brackets to PyTorch compiled; a dash: too large.\n"

ELSEWHERE = """## Another machine

{notes}

{device}, {vectors}, {threads} threads, Python {python};
{versions}.
"""

RANKS = """## Several ranks

The loss that ranks return, and the gradients of two linear encoders and of the logit scale after
DistributedDataParallel's mean, beside those of plain PyTorch in one process with all {rows} rows.
Float64, gloo, CPU; {versions}{absent}. Raw numbers of all {count} runs:
benchmarks/results/ddp_exactness.json.

Of nearfar's {own} runs (`group="auto"` and `"ring"`; {shards} rows on the ranks), the worst of each
form is shown; the others ran on equal shards. A rank-local loss is another number on every rank. A
dash: the temperature is a plain number there.
"""


def table(head: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """Markdown."""
    head = list(head)
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows) + "\n"


def ms(seconds: float) -> str:
    """Milliseconds, three digits."""
    return f"{1000 * seconds:,.3g}" if seconds < 1 else f"{1000 * seconds:,.0f}"


def mib(size: float) -> str:
    """Mebibytes."""
    return f"{size / 2**20:,.0f}"


def times(more: float | None) -> str:
    """A ratio."""
    return f"{more:.2f}" if more else "-"


def ahead(row: Row, name: str = "nearfar") -> float | None:
    """The time of the fastest other contestant over nearfar's."""
    best, own = ratio(row, best_peer(row)), ratio(row, name)
    return best / own if best and own else None


def pick(rows: list[Row], cells: Iterable[tuple[str, int, int, float]]) -> list[Row]:
    """The rows of these cells, in their order, as far as they were measured."""
    known = {(row["form"], row["n"], row["d"], row["tau"]): row for row in rows}
    return [known[cell] for cell in cells if cell in known]


def against(rows: list[Row]) -> str:
    """nearfar beside the best of the others."""
    return table(
        (
            "form",
            "N",
            "D",
            "nearfar, ms",
            "best other, ms",
            "which",
            "ratio",
            "no numba",
            "compiled",
            "products",
        ),
        (
            (
                *(row["form"], row["n"], row["d"], ms(row["seconds"]["nearfar"])),
                *((ms(row["seconds"][best]), best) if (best := best_peer(row)) else ("", "")),
                *(times(ahead(row)), times(ahead(row, WITHOUT)), times(ratio(row, COMPILED))),
                f"{roofline(row):.0%}",
            )
            for row in rows
        ),
    )


def floor(rows: list[Row]) -> str:
    """nearfar beside the bare operations."""

    names = "PyTorch", "nearfar", "floor"
    return table(
        (
            "form",
            "N",
            "D",
            *(f"{name}, ms" for name in names),
            "PyTorch / nearfar",
            "nearfar / floor",
            "products",
        ),
        (
            (
                *(row["form"], row["n"], row["d"]),
                *(ms(row["seconds"][name]) for name in names),
                times(row["seconds"]["PyTorch"] / row["seconds"]["nearfar"]),
                times(row["seconds"]["nearfar"] / row["seconds"]["floor"]),
                f"{roofline(row):.0%}",
            )
            for row in rows
        ),
    )


def cold(rows: list[Row]) -> tuple[str, ...]:
    """The same for trained encoders at a low temperature, if it was measured."""
    return (COLD_HEAD, against(rows)) if rows else ()


def sweep(rows: list[Row]) -> str:
    """Ratios: a line for each N, a column for each form."""
    cells = {
        (row["form"], row["n"]): f"{times(ahead(row))} ({times(ratio(row, COMPILED))})"
        for row in rows
    }
    sizes = sorted({n for _, n in cells})
    lines = ((n, *(cells.get((form, n), "") for form in FORMS)) for n in sizes)
    return table(("N", *FORMS), lines)


def elsewhere(found: dict[str, Any]) -> tuple[str, ...]:
    """What another machine takes."""
    rows: list[Row] = found["rows"]
    return (
        ELSEWHERE.format(**found | {"versions": named(found["versions"])}),
        against(pick(rows, TABLE)),
        SIZES,
        sweep(pick(rows, SWEEP)),
    )


def one_size(rows: list[Row]) -> str:
    """All contestants at one size."""
    return table(
        ("form", "contestant", "ms"),
        (
            (row["form"], name, ms(seconds))
            for row in rows
            for name, seconds in sorted(everyone(row).items(), key=lambda pair: pair[1])
        ),
    )


def bf16(rows: list[Row]) -> str:
    """Products in bfloat16 beside those in float32."""
    return table(
        ("form", "N", "D", "float32, ms", "bf16, ms", "ratio", "relative error of the gradient"),
        (
            (
                *(row["form"], row["n"], row["d"], ms(row["seconds"]["nearfar"])),
                *(ms(coarse), f"{row['seconds']['nearfar'] / coarse:.2f}"),
                f"{row['bf16_gradient_error']:.1e}",
            )
            for row in rows
            if (coarse := row["seconds"].get(BF16))
        ),
    )


def peaks(rows: list[Row]) -> str:
    """Peak memory: a line for each contestant, a column for each N."""
    usual = [row for row in rows if row["budget"] == "default" and row["n"] <= 8192]
    sizes = sorted({row["n"] for row in usual})
    found = {(row["form"], row["name"], row["n"]): mib(row["peak_bytes"]) for row in usual}
    names = dict.fromkeys((form, name) for form, name, _ in found)
    lines = [(*name, *(found.get((*name, n), "") for n in sizes)) for name in names]
    return table(("form", "contestant", *(f"N = {n}" for n in sizes)), lines)


def lean(rows: list[Row]) -> str:
    """nearfar without kept tiles, and at its largest."""
    rows = [row for row in rows if row["budget"] == "none" or row["n"] > 8192]
    return table(
        ("form", "N", "D", "budget", "peak, MiB", "one N x N matrix", "open_clip's peak"),
        (
            (
                *(row["form"], row["n"], row["d"], row["budget"]),
                *(mib(row["peak_bytes"]), mib(row["matrix_bytes"]), row.get("open_clip", "")),
            )
            for row in rows
        ),
    )


def several_ranks(found: dict[str, Any]) -> str:
    """Exactness over ranks."""
    rows: list[Row] = found["rows"]
    own = [row for row in rows if row["library"] == "nearfar"]
    absent = ", ".join(found["absent"])
    words = {
        "rows": sum(rows[0]["shards"]),
        "count": len(rows),
        "own": len(own),
        "shards": ", ".join(dict.fromkeys(" + ".join(map(str, row["shards"])) for row in own)),
        "versions": named(found["versions"]),
        "absent": f"; absent: {absent}" if absent else "",
    }
    return RANKS.format(**words) + "\n" + table(RANKS_HEAD, map(cells, summary(rows)))


def named(versions: dict[str, str]) -> str:
    """Packages with their versions."""
    return ", ".join(f"{package} {number}" for package, number in versions.items())


def draw(timed: list[Row], peaked: list[Row]) -> None:
    """Time and memory of one form against N."""
    pyplot.rcParams["svg.hashsalt"] = "nearfar"
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4))
    timed = [row for row in timed if row["form"] == DRAWN]
    peaked = [row for row in peaked if row["form"] == DRAWN and row["budget"] == "default"]
    for name in dict.fromkeys(name for row in timed for name in everyone(row)):
        style = {"marker": "o", "markersize": 3, "linewidth": 2.5 if name == "nearfar" else 1}
        line = [(row["n"], everyone(row)[name]) for row in timed if name in everyone(row)]
        left.plot(*zip(*line, strict=True), label=name, **style)
        line = [(row["n"], row["peak_bytes"] / 2**20) for row in peaked if row["name"] == name]
        right.plot(*(zip(*line, strict=True) if line else ((), ())), **style)
    left.set(ylabel="seconds, forward and backward")
    right.set(ylabel="peak memory beyond the inputs, MiB")
    for axes in (left, right):
        axes.set(xlabel=f"N ({DRAWN}, D = 256)", xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / FIGURE, metadata={"Date": None})


def main() -> None:
    """Read, draw, write."""
    speed: dict[str, Any] = json.loads((RESULTS / "loss_cpu.json").read_text())
    memory: dict[str, Any] = json.loads((RESULTS / "loss_memory.json").read_text())
    rows, peaked = speed["rows"], memory["rows"]
    for row in peaked:
        for other in peaked:
            if other["name"] == "open_clip" and (row["form"], row["n"]) == (
                other["form"],
                other["n"],
            ):
                row["open_clip"] = mib(other["peak_bytes"])
    bare: dict[str, Any] = json.loads((RESULTS / "loss_floor.json").read_text())
    exactness: dict[str, Any] = json.loads((RESULTS / "ddp_exactness.json").read_text())
    draw(pick(rows, SWEEP), peaked)
    parts = (
        HEAD.format(
            **{"notes": ""} | speed | {"versions": named(speed["versions"]), "figure": FIGURE}
        ),
        "## Large batches\n",
        against(pick(rows, TABLE)),
        f"## Every size\n\n{SIZES}",
        sweep(pick(rows, SWEEP)),
        *cold(pick(rows, COLD)),
        FLOOR.format(**{"notes": ""} | bare),
        floor(bare["rows"]),
        "## Everyone\n\nAt N = 4,096 and D = 256.\n",
        one_size([row for row in pick(rows, SWEEP) if row["n"] == 4096]),
        '## Products in bfloat16\n\n`products="bf16"` beside float32.\n',
        bf16(pick(rows, TABLE)),
        "## Memory\n\nPeak of a process of its own beyond the inputs, D = 256, MiB.\n",
        peaks(peaked),
        "nearfar without a budget for kept tiles, and with a large batch:\n",
        lean(peaked),
        *elsewhere(json.loads((RESULTS / "loss_cpu_amd.json").read_text())),
        several_ranks(exactness),
    )
    (ROOT / "docs" / "performance.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
