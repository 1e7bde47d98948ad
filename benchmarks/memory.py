"""Peak memory of forward and backward, beyond the inputs: each contestant in a process of its own.

    python benchmarks/memory.py --out benchmarks/results/loss_memory.json
    python benchmarks/memory.py --forms symmetric --sizes 1024,2048
    python benchmarks/memory.py --forms symmetric --sizes 131072 --names nearfar --huge

Needs Linux's /proc and the GNU C library.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from ctypes import CDLL
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from cpu import TAU, batch, step
from field import FORMS, field
from machine import describe, memory

SIZES = "1024,2048,4096,8192"
DIM = 256
# So many rows are taken by tiles.
TILED = 2112
HUGE = 131072
# Where nearfar keeps room for tiles, and the budget of exponentiated ones, in bytes.
ROOM = "nearfar.loss._room"
BUDGET = ("nearfar.loss.push._sums", "KEEP")


def resident(what: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(what + ":"))


def peak(form: str, name: str, n: int, keep: bool) -> int:
    """Bytes at most, in this process, beyond what was there after a small call."""
    if not keep:
        module, constant = BUDGET
        if not hasattr(import_module(module), constant):
            raise SystemExit(f"{module}.{constant} has moved")
        setattr(import_module(module), constant, 0)
    (loss,) = field(form, TAU, [name])[0].values()
    rows = batch(form, n, DIM)
    # A small call first; a compiled function is compiled for its shape, nearfar's loops for tiles.
    small = {"PyTorch, compiled": n, "nearfar": TILED}.get(name, 64)
    step(loss, *batch(form, small, DIM))
    if name == "nearfar":  # what it holds from call to call counts as well
        import_module(ROOM).ROOM.ready.clear()
    for each in rows:
        each.grad = None
    gc.collect()
    CDLL(None).malloc_trim(0)
    # Not getrusage: its peak starts at that of the process that started this one.
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is resident now
    before = resident("VmRSS")
    step(loss, *rows)
    return resident("VmHWM") - before


def row(form: str, name: str, n: int, *, keep: bool = True) -> dict[str, Any]:
    """Ask a fresh process."""
    cell = [form, name, str(n)] + ([] if keep else ["no-tiles-kept"])
    command = [sys.executable, __file__, "--threads", str(torch.get_num_threads()), "--cell", *cell]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {"form": form, "name": name, "n": n, "d": DIM, "budget": "default" if keep else "none"}
    # The least a dense loss needs: one float32 matrix.
    found |= {"peak_bytes": int(answer.split()[-1]), "matrix_bytes": 4 * n**2}
    print(found, flush=True)
    return found


def main() -> None:
    """Every form, contestant and size; then nearfar alone without kept tiles, and huge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--names", help="with ; between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--huge", action="store_true", help=f"symmetric at N = {HUGE}: minutes")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cell", nargs="+", help=argparse.SUPPRESS)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    if words.cell:
        form, name, n, *rest = words.cell
        print(peak(form, name, int(n), keep=not rest))
        return
    rows = []
    sizes = [int(n) for n in words.sizes.split(",")]
    for form in words.forms.split(","):
        for one in field(form, TAU, words.names.split(";") if words.names else ())[0]:
            rows += [row(form, one.name, n) for n in sizes if one.bytes(n) < 0.7 * memory()]
            if one.name == "nearfar":
                rows.append(row(form, one.name, max(sizes), keep=False))
    if words.huge:
        rows.append(row("symmetric", "nearfar", HUGE))
    if words.out:
        words.out.write_text(json.dumps(describe() | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
