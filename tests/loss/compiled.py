"""The kernels, compiled without a GPU.

    PYTHONPATH=src python tests/loss/compiled.py

prints, for every tile, the registers a thread takes, the bytes it spills and the shared memory.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nearfar.loss.push import _add, _kernels
from nearfar.loss.push._slabs import BF16, FLOAT32, Tile


class Gpu(NamedTuple):
    """Its name, compute capability, and bytes of shared memory for a program."""

    name: str
    capability: int
    memory: int


H100 = Gpu("H100", 90, 232448)
GPUS = (H100, Gpu("A100", 80, 166912), Gpu("L40, RTX 4090", 89, 101376))
INTEGERS = ("columns", "dim", "width", "force_row", "force_inner", "side_row", "share")
ANY_INTEGERS = ("rows", "columns", "size", "parts", "inner")
EMBEDDINGS = ("query", "key", "force", "side")
ONE_WAY: dict[str, Any] = {"column_part": None, "column_log": None, "column_grad": None}
NO_IDS: dict[str, Any] = {"row_id": None, "column_id": None}

Job = tuple[Any, Tile, str, dict[str, Any]]
LARGEST: tuple[Job, ...] = (
    (_kernels.tile_sums, BF16.long, "bf16", {"DIAGONAL": True}),
    (_kernels.tile_forces, BF16.long, "bf16", {"DIAGONAL": False}),
    (_add.add_product, BF16.product, "bf16", {"force_inner": 1}),
    (_add.add_product, BF16.product, "bf16", {"force_row": 1}),
)


def compiled(gpu: Gpu, kernel: Any, tile: Tile, format: str, constants: dict[str, Any]) -> Any:
    """A kernel for ids and two sides, except for what constants say."""
    tile = tile.within(gpu.memory, 2 if format == "bf16" else 4)
    sides = {"HEIGHT": tile.height, "WIDTH": tile.width, "DEPTH": tile.depth}
    names = kernel.arg_names
    known = {"PRECISION": "ieee", **sides, **constants}
    types = dict.fromkeys((*INTEGERS, *ANY_INTEGERS), "i32")
    types |= dict.fromkeys(EMBEDDINGS, f"*{format}") | {"row_id": "*i64", "column_id": "*i64"}
    free = [name for name in names if name not in known]
    aligned = [name for name in free if name not in ANY_INTEGERS or name == "columns"]
    source = ASTSource(
        kernel,
        {name: types.get(name, "*fp32") if name in free else "constexpr" for name in names},
        {(names.index(name),): value for name, value in known.items() if name in names},
        {(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    return triton.compile(source, GPUTarget("cuda", gpu.capability, 32), options)


def jobs() -> Iterator[Job]:
    """Every kernel with every tile that it can get."""
    for format, tiles in (("bf16", BF16), ("fp32", FLOAT32)):
        for tile in dict.fromkeys((tiles.few, tiles.short, tiles.long)):
            for kernel in (_kernels.tile_sums, _kernels.tile_forces):
                yield kernel, tile, format, {"DIAGONAL": False}
                yield kernel, tile, format, {"DIAGONAL": True}
                yield kernel, tile, format, {"DIAGONAL": False, **ONE_WAY, **NO_IDS}
        for tile in dict.fromkeys((tiles.product, tiles.narrow)):
            yield _add.add_product, tile, format, {"force_inner": 1}
            yield _add.add_product, tile, format, {"force_row": 1}
    yield _add.add_logs, BF16.few, "fp32", {}


def usage(cubin: bytes) -> str:
    """What the machine code takes, told by the tool that comes with triton."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "-res-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    return f"{found[1]:>3} registers, {found[2]:>3} bytes spilt" if found else told


def main() -> None:
    """One line a kernel."""
    for gpu in GPUS:
        for kernel, tile, format, constants in jobs():
            made = compiled(gpu, kernel, tile, format, constants)
            options = ", ".join(name for name, value in constants.items() if value)
            options = "one way" if "column_log" in constants else options
            fits = "" if made.metadata.shared <= gpu.memory else "  DOES NOT FIT"
            print(
                f"{gpu.name:13} {kernel.__name__:11} {format} {tile.height:>3}x{tile.width:<3}",
                f"{options:12} {usage(made.asm['cubin'])}, {made.metadata.shared:>6} shared{fits}",
                flush=True,
            )


if __name__ == "__main__":
    main()
