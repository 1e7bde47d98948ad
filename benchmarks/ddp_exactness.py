"""Loss and gradients over several ranks, against the same formula in one process.

    python benchmarks/ddp_exactness.py --out benchmarks/results/ddp_exactness.json
    python benchmarks/ddp_exactness.py --ranks 2

Ranks are gloo processes on this CPU, all in float64; each holds some rows of one batch, and
DistributedDataParallel holds an encoder for either side and the logit scale.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from cpu import TAU
from ddp_field import LIBRARIES, ROWS, WIDTH, Batch, Loss, everyone, plain
from field import release
from machine import describe
from torch import Tensor, nn
from torch.multiprocessing import spawn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

# How many rows each rank holds.
SHARDS = {2: ([32, 32], [45, 19]), 4: ([16, 16, 16, 16], [29, 3, 21, 11])}
INPUT = 32
# Relative errors of losses up to this are rounding.
CLOSE = 1e-9
HEAD = (
    *("form", "library", "mode", "rows of each rank", "logged loss"),
    *("encoders' gradient: relative error", "cosine", "norm ratio", "temperature's: ratio"),
)

Row = dict[str, Any]


class Towers(nn.Module):
    """An encoder for either side, and the logit scale."""

    def __init__(self, learns: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Linear(INPUT, WIDTH, dtype=torch.float64)
        self.key = nn.Linear(INPUT, WIDTH, dtype=torch.float64)
        start = torch.tensor(-math.log(TAU), dtype=torch.float64)
        self.log_scale = nn.Parameter(start, requires_grad=learns)

    def forward(self, items: Tensor) -> Batch:
        """The rows of these items."""
        random = torch.Generator().manual_seed(1)
        x, noise = torch.randn(2, ROWS, INPUT, generator=random, dtype=torch.float64)[:, items]
        q, k = self.query(x), self.key(x + noise)
        scale = self.log_scale.exp()
        return Batch(functional.normalize(q), functional.normalize(k), scale, items)


def step(towers: nn.Module, loss: Loss, items: Tensor) -> Row:
    """Loss and gradients."""
    value = loss(towers(items))
    value.backward()
    grads = {name.removeprefix("module."): p.grad for name, p in towers.named_parameters()}
    scale = grads.pop("log_scale")
    encoders = torch.cat([grad.flatten() for grad in grads.values()])
    return {"loss": value.item(), "encoders": encoders, "scale": scale}


def work(rank: int, ranks: int, folder: str) -> None:
    """What one rank finds, in a file of its own."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", FutureWarning)  # peers call what torch will drop
    store = dist.FileStore(f"{folder}/store", ranks)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=ranks)
    entries, absent = everyone()
    found = []
    for shards in SHARDS[ranks]:
        items = torch.arange(ROWS).split(shards)[rank]
        for entry in entries:
            if entry.uneven or len(set(shards)) == 1:
                towers = DistributedDataParallel(Towers(entry.learns))
                row = {"library": entry.library, "form": entry.form, "mode": entry.mode}
                found.append((row | {"shards": shards}, step(towers, entry.loss, items)))
    torch.save((found, absent), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@cache
def wanted(form: str) -> Row:
    """What one process with all rows finds."""
    return step(Towers(), lambda batch: plain(form, batch), torch.arange(ROWS))


def measure(ranks: int) -> tuple[list[Row], dict[str, str]]:
    """All contestants over so many ranks; and who is absent, and why."""
    with TemporaryDirectory() as folder:
        spawn(work, (ranks, folder), nprocs=ranks)
        files = [torch.load(f"{folder}/{rank}.pt") for rank in range(ranks)]
    rows = []
    for parts in zip(*(found for found, _ in files), strict=True):
        (row, first), losses = parts[0], [part["loss"] for _, part in parts]
        rows.append(row | {"losses": losses} | compare(first, wanted(row["form"])))
        print(" | ".join(cells(rows[-1])), flush=True)
    return rows, files[0][1]


def compare(found: Row, exact: Row) -> Row:
    """The gradients, which DistributedDataParallel has made the same on all ranks."""
    x, y = found["encoders"], exact["encoders"]
    scale = found["scale"]
    return {
        "loss": exact["loss"],
        "encoder_error": float((x - y).norm() / y.norm()),
        "encoder_cosine": float(functional.cosine_similarity(x, y, dim=0)),
        "encoder_norm_ratio": float(x.norm() / y.norm()),
        "temperature_ratio": None if scale is None else float(scale / exact["scale"]),
    }


def logged(row: Row) -> str:
    """What the ranks' losses are to the loss of the whole batch."""
    ratios = [loss / row["loss"] for loss in row["losses"]]
    mean = sum(ratios) / len(ratios)
    text = "exact" if abs(mean - 1) < CLOSE else f"x {mean:.3g}"
    same = max(ratios) - min(ratios) < CLOSE
    return text if same else f"rank-local, their mean {text}"


def cells(row: Row) -> tuple[str, ...]:
    """One line a row; the columns are HEAD's."""
    temperature = row["temperature_ratio"]
    return (
        *(row["form"], row["library"], row["mode"], " + ".join(map(str, row["shards"]))),
        *(logged(row), f"{row['encoder_error']:.1e}", f"{row['encoder_cosine']:.4f}"),
        f"{row['encoder_norm_ratio']:.3g}",
        "-" if temperature is None else f"{temperature:.3g}",
    )


def summary(rows: list[Row]) -> list[Row]:
    """nearfar's worst row of each form, then the others' with most ranks."""

    def badness(row: Row) -> tuple[bool, float]:
        error = max(row["encoder_error"], abs(row["temperature_ratio"] - 1))
        return logged(row) != "exact", error

    own: dict[str, list[Row]] = {}
    for row in rows:
        if row["library"] == "nearfar":
            own.setdefault(row["form"], []).append(row)
    most = max(len(row["shards"]) for row in rows)
    others = (row for row in rows if row["library"] != "nearfar" and len(row["shards"]) == most)
    return [max(same, key=badness) for same in own.values()] + list(others)


def main() -> None:
    """Spawn, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", default="4", help="2, 4 or 2,4")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    torch.set_num_threads(1)
    print(" | ".join(HEAD))
    rows: list[Row] = []
    absent: dict[str, str] = {}
    for ranks in words.ranks.split(","):
        found, absent = measure(int(ranks))
        rows += found
    for package, reason in absent.items():
        print(f"absent: {package}: {reason}")
    versions = {package: release(package) for package in LIBRARIES if package not in absent}
    if words.out:
        found = describe() | {"versions": versions, "absent": [*absent], "rows": rows}
        words.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
