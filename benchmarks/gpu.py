"""Forward and backward on a CUDA GPU: first right, then fast.

    PYTHONPATH=src python benchmarks/gpu.py --out benchmarks/results/
    PYTHONPATH=src python benchmarks/gpu.py --quick
    PYTHONPATH=src python benchmarks/gpu.py --tune
    TRITON_INTERPRET=1 PYTHONPATH=src python benchmarks/gpu.py

Kernels are held against the stored matrix in float64; the first mismatch ends it. Contestants then
take turns in one process, timed by CUDA events; a row has everyone's median and peak memory.
Without a GPU, the interpreter can do the first part. Peers compete if they are installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nearfar import InfoNCE, NTXentLoss
from nearfar.loss.push import Crowd, Game, _slabs, push

TAU = 0.07
SIZES, DIMS = (4096, 8192, 16384, 32768, 65536), (128, 256, 512, 768, 1024)
HEADLINE = ("symmetric", 65536, 768)
# Products of N x N x D that the loss takes at O(N) memory; of NT-Xent, 2 of 2N x 2N x D.
UNITS = {"symmetric": 4, "one-way": 4, "NT-Xent": 8}
ROUNDS = 10

Loss = Callable[[Tensor, Tensor], Tensor]
Row = dict[str, Any]


def rows(number: int, dim: int, device: str, seed: int) -> Tensor:
    """Rows of length one around one direction."""
    x = torch.randn(number, dim, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(x + 3 * torch.eye(dim)[0]).to(device)


def outcome(game: Game, backend: Any) -> list[Tensor]:
    """Logsumexps, and gradients with weights of both signs."""
    given = [None if x is None else x.clone() for x in (game.query, game.key, game.scale)]
    wanted = [x.requires_grad_() for x in given if x is not None]
    logs = push(replace(game, query=given[0], key=given[1], scale=given[2]), backend)
    total = given[2] * 0
    for log in (log for log in logs if log is not None):
        weight = torch.linspace(-1, 2, len(log), dtype=log.dtype, device=log.device)
        total = total + (weight * log.masked_fill(log == -torch.inf, 0.0)).sum()
    grads = torch.autograd.grad(total, wanted)
    return [x.detach().double() for x in (*logs, *grads) if x is not None]


def games(device: str, large: bool) -> Iterator[tuple[str, Game]]:
    """Every form, on both sides of every limit."""
    n, m = (1500, 900) if large else (40, 50)
    for dim, tau, form, bf16, ids in product(
        (40, 128, 768) if large else (20,),
        (1e-3, 0.01, 0.1, 10.0),
        ("one way", "both ways", "triangle"),
        (False, True),
        (0, 1, 50),
    ):
        query, key = rows(n, dim, device, 0), rows(m, dim, device, 1)
        if bf16:
            query, key = query.bfloat16().float(), key.bfloat16().float()
        crowd = Crowd()
        if ids:
            own = torch.arange(n, device=device) // ids
            other = own if form == "triangle" else torch.arange(m, device=device) // ids
            crowd = Crowd(row_id=own, column_id=other)
        yield (
            f"{form}, D={dim}, tau={tau}, bf16={bf16}, {ids} of an id",
            Game(
                query=query,
                key=None if form == "triangle" else key,
                scale=torch.tensor(1 / tau, device=device),
                crowd=crowd,
                both=form == "both ways",
                highest=1.002,
                bf16=bf16,
            ),
        )


def check(device: str, quick: bool) -> None:
    """All games with all tiles, in one slab and in many.

    Raises:
        SystemExit: Something differs.
    """
    large = device == "cuda"
    ours = _slabs.BF16, _slabs.FLOAT32, _slabs.BYTES
    names = ("few", "short", "long") if large and not quick else ("short",)
    count = 0
    for title, game in games(device, large):
        key = None if game.key is None else game.key.double()
        wide = replace(game, query=game.query.double(), key=key, scale=game.scale.double())
        exact = outcome(replace(wide, bf16=False), "dense")
        for name, _slabs.BYTES in product(names, (ours[2], 2**20) if large else (ours[2],)):
            _slabs.BF16, _slabs.FLOAT32 = (
                replace(tiles, **dict.fromkeys(("few", "short", "long"), getattr(tiles, name)))
                for tiles in ours[:2]
            )
            if large:
                torch.cuda.set_sync_debug_mode("error")
            found = outcome(game, "triton")
            if large:
                torch.cuda.set_sync_debug_mode("default")
            for number, (one, wanted) in enumerate(zip(found, exact, strict=True)):
                gradient = number > int(game.both)
                most = (5e-3 if game.bf16 else 1e-3) if gradient else 1e-5
                error = relative(one, wanted)
                if not error <= most:
                    raise SystemExit(f"{title}, {name}: output {number} is off by {error:.1e}")
            count += 1
    _slabs.BF16, _slabs.FLOAT32, _slabs.BYTES = ours
    print(f"{count} outcomes on {device} equal those of the stored matrix", flush=True)


def relative(found: Tensor, wanted: Tensor) -> float:
    """The largest error, by the largest entry; of infinities, that they are the same."""
    if not torch.equal(found.isinf(), wanted.isinf()):
        return torch.inf
    error, size = ((x.nan_to_num(posinf=0.0, neginf=0.0)).abs() for x in (found - wanted, wanted))
    return torch.inf if found.isnan().any() else float(error.max() / size.max().clamp_min(1e-9))


def nearfar(form: str, backend: str) -> Loss:
    """This library, as its users call it."""
    words = {"backend": backend, "products": "bf16"}
    if form == "NT-Xent":
        return NTXentLoss(TAU, **words)
    return InfoNCE(TAU, symmetric=form == "symmetric", normalize=False, **words)


def dense(form: str) -> Loss:
    """The best few lines of PyTorch: one matrix, of which nothing is computed twice."""

    def loss(q: Tensor, k: Tensor) -> Tensor:
        if form == "NT-Xent":
            z = functional.normalize(torch.cat([q, k]))
            logits = ((z @ z.T).float() / TAU).fill_diagonal_(-torch.inf)
            target = torch.arange(len(z), device=z.device).roll(len(q))
            return functional.cross_entropy(logits, target)
        logits = (q @ k.T).float() / TAU
        positive = (q.float() * k.float()).sum(1).mean() / TAU
        one = logits.logsumexp(1).mean() - positive
        return one if form == "one-way" else (one + logits.logsumexp(0).mean() - positive) / 2

    return loss


def memeff(form: str) -> Loss:
    """Of memeff; ``stable`` would change the gradient."""
    from memeff import MemoryEfficientCLIPLoss

    return MemoryEfficientCLIPLoss(temperature=TAU, normalized_inputs=True, stable=False)


def twice(form: str, one_way: Loss) -> Loss:
    """Both directions of a loss that knows one."""
    if form == "one-way":
        return one_way
    return lambda q, k: (one_way(q, k) + one_way(k, q)) / 2


def inf_cl(form: str) -> Loss:
    """Of inf-cl."""
    from inf_cl import cal_flash_loss

    def one_way(q: Tensor, k: Tensor) -> Tensor:
        return cal_flash_loss(q, k, scale=1 / TAU, head_dim=min(256, q.shape[1])).mean()

    return twice(form, one_way)


def liger(form: str) -> Loss:
    """Of liger-kernel: keys as the weight of a classifier."""
    from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

    def one_way(q: Tensor, k: Tensor) -> Tensor:
        target = torch.arange(len(q), device=q.device)
        found = LigerFusedLinearCrossEntropyFunction.apply(q / TAU, k, target)
        return found[0] if isinstance(found, tuple) else found

    return twice(form, one_way)


def contestants(form: str, n: int) -> dict[str, Callable[[], Loss]]:
    """Who can compete, and how each is made."""
    everyone: dict[str, Callable[[], Loss]] = {"nearfar": lambda: nearfar(form, "triton")}
    if n <= 16384:
        everyone["nearfar, tiled"] = lambda: nearfar(form, "tiled")
    most = 0.8 * torch.cuda.get_device_properties(0).total_memory
    matrix = 4 * n**2 * (4 if form == "NT-Xent" else 1)
    if 4.5 * matrix < most:
        everyone["PyTorch"] = lambda: dense(form)
    if 3 * matrix < most:
        everyone["PyTorch, compiled"] = lambda: torch.compile(dense(form), dynamic=False)
    if form == "symmetric":
        everyone["memeff"] = lambda: memeff(form)
    if form != "NT-Xent":
        everyone["inf-cl"] = lambda: inf_cl(form)
        everyone["liger-kernel"] = lambda: liger(form)
    return everyone


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def step(loss: Loss, q: Tensor, k: Tensor) -> float:
    """Forward and backward; the loss."""
    q.grad = k.grad = None
    value = loss(q, k)
    value.backward()
    return float(value.detach())


def measure(form: str, n: int, d: int, rounds: int) -> Row:
    """One row: everyone's median milliseconds, teraflops on the same units, and peak memory."""
    q, k = (rows(n, d, "cuda", seed).bfloat16().requires_grad_() for seed in (0, 1))
    torch.compiler.reset()
    runs: dict[str, Callable[[], float]] = {}
    values, peaks, absent = {}, {}, {}
    for name, make in contestants(form, n).items():
        try:
            loss = make()
            step(loss, q, k)
            q.grad = k.grad = None
            torch.cuda.synchronize()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            values[name] = step(loss, q, k)
            peaks[name] = torch.cuda.max_memory_allocated() - before
            runs[name] = lambda loss=loss: step(loss, q, k)
        except Exception as error:
            if name.startswith("nearfar"):
                raise
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        q.grad = k.grad = None
        torch.cuda.empty_cache()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run))
    ms = {name: median(taken) for name, taken in times.items()}
    flop = UNITS[form] * 2 * n * n * d
    return {
        "form": form,
        "n": n,
        "d": d,
        "ms": ms,
        "tflops": {name: flop / taken / 1e9 for name, taken in ms.items()},
        "peak_bytes": peaks,
        "loss": values,
        "absent": absent,
    }


def roofline(n: int, m: int, d: int) -> float:
    """Teraflops of one product of bfloat16, (n, d) by (d, m)."""
    a, b = torch.randn(n, d, device="cuda").bfloat16(), torch.randn(d, m, device="cuda").bfloat16()
    out = a @ b
    times = [timed(lambda: torch.mm(a, b, out=out)) for _ in range(20)]
    return 2 * n * m * d / median(times[5:]) / 1e9


def show(row: Row) -> None:
    """One line a contestant."""
    print(f"{row['form']} N={row['n']} d={row['d']}")
    for name, ms in sorted(row["ms"].items(), key=lambda pair: pair[1]):
        peak = row["peak_bytes"][name] / 2**20
        rate, value = row["tflops"][name], row["loss"][name]
        print(f"  {name:18} {ms:9.3f} ms {rate:6.0f} TFLOP/s {peak:8.0f} MiB  loss {value:.4f}")
    for name, why in row["absent"].items():
        print(f"  {name:18} absent: {why}", flush=True)


def symmetric(n: int, d: int, products: str) -> str:
    """The milliseconds of our symmetric loss with the tiles as they are now."""
    q, k = (rows(n, d, "cuda", seed).bfloat16().requires_grad_() for seed in (0, 1))
    loss = InfoNCE(TAU, symmetric=True, normalize=False, backend="triton", products=products)
    try:
        return f"{median([timed(lambda: step(loss, q, k)) for _ in range(8)][3:]):.3f} ms"
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def tune() -> None:
    """Other tiles in place of ours, for logits and for gradients; another precision."""
    from nearfar.loss.push import _triton

    tiles = [
        _slabs.Tile(*sides, 64, warps, stages)
        for sides, warps in (((128, 128), 4), ((128, 128), 8), ((128, 256), 8), ((256, 128), 8))
        for stages in (3, 4)
    ]
    ours = _slabs.BF16
    for d, names in product((768, 256, 128), (("short", "long"), ("product", "narrow"))):
        for tile in tiles:
            _slabs.BF16 = replace(ours, **dict.fromkeys(names, tile))
            print(f"d={d} {names}: {tile}: {symmetric(16384, d, 'bf16')}", flush=True)
        _slabs.BF16 = ours
    for precision in ("ieee", "tf32x3"):
        _triton.PRECISION = precision
        print(f"float32, {precision}: {symmetric(8192, 256, 'exact')}", flush=True)


def cells(quick: bool) -> Iterator[tuple[str, int, int]]:
    """Form, N, D."""
    yield HEADLINE
    if quick:
        yield from product(UNITS, (4096, 16384), (256,))
        return
    yield from (cell for cell in product(("symmetric",), SIZES, DIMS) if cell != HEADLINE)
    yield from product(("one-way", "NT-Xent"), SIZES[:4], (128, 512))


def main() -> None:
    """Check, then time cell after cell; the file is written after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few sizes")
    parser.add_argument("--tune", action="store_true", help="only compare tiles")
    parser.add_argument("--out", type=Path, help="a folder")
    words = parser.parse_args()
    if not torch.cuda.is_available():
        if os.environ.get("TRITON_INTERPRET") == "1":
            sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "loss"))
            from interpreter import mend

            mend(setattr)
            check("cpu", words.quick)
        raise SystemExit("There is no CUDA device, so nothing was timed.")
    check("cuda", words.quick)
    if words.tune:
        tune()
        return
    device = torch.cuda.get_device_name()
    found: Row = {
        "device": device,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": sys.modules["triton"].__version__,
        "python": platform.python_version(),
        "tau": TAU,
        "product_tflops": {
            f"{n}x{n}x{d}": roofline(n, n, d) for n in (8192,) for d in (*DIMS, 8192)
        },
        "rows": [],
    }
    print(f"{device}; bare products: {found['product_tflops']}", flush=True)
    for form, n, d in cells(words.quick):
        found["rows"].append(measure(form, n, d, 3 if words.quick else ROUNDS))
        show(found["rows"][-1])
        if words.out:
            name = re.sub(r"\W+", "_", device).strip("_").lower()
            words.out.mkdir(parents=True, exist_ok=True)
            (words.out / f"gpu_{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
