"""The power of the leakage audit: gap and p against rows per device, for four kinds of norm.

    PYTHONPATH=src python benchmarks/leakage.py --out benchmarks/results/leakage.json

Untrained networks on eight virtual devices; views are an item plus noise. Every audit has its own
network, data and placements. Shuffled keys are the hard case for false alarms: their true gap is
zero, although their embeddings are coupled.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import torch
from machine import describe
from torch import Tensor, nn

from nearfar.anatomy.leakage import Audit, audit
from nearfar.encoders import synchronised

DEVICES, WIDTH, NOISE, TEMPERATURE, ROUNDS = 8, 64, 0.5, 0.1, 40
PER_DEVICE = (4, 8, 16, 32)
KINDS = ("batch norm", "synchronised batch norm", "layer norm", "batch norm, shuffled keys")
HEAD = f"{'norm':28}{'per device':>11}{'coupling':>10}{'gap, nats':>11}{'95 % of audits':>18}"
Norm = Callable[[int], nn.Module]


def network(norm: Norm, seed: int) -> nn.Module:
    """Two hidden layers, each with a norm."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(WIDTH, 2 * WIDTH),
        norm(2 * WIDTH),
        nn.ReLU(),
        nn.Linear(2 * WIDTH, 2 * WIDTH),
        norm(2 * WIDTH),
        nn.ReLU(),
        nn.Linear(2 * WIDTH, WIDTH),
    )


def views(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two noisy views of random items."""
    generator = torch.Generator().manual_seed(seed)
    item, one, other = torch.randn(3, rows, WIDTH, generator=generator)
    return item + NOISE * one, item + NOISE * other


def examine(kind: str, rows: int, seed: int) -> Audit:
    """One audit."""
    model = network(nn.LayerNorm if kind == "layer norm" else nn.BatchNorm1d, seed)
    if kind == "synchronised batch norm":
        model = synchronised(model)
    shuffle = kind == "batch norm, shuffled keys"
    return audit(
        model, *views(rows, seed), DEVICES, TEMPERATURE, ROUNDS, shuffle=shuffle, seed=seed
    )


def summary(found: list[Audit]) -> dict[str, float]:
    """Many audits of one kind: means, spread, and how often the model was accused."""
    gaps = [audit.gaps[0] for audit in found]
    nats, p = torch.tensor([g.nats for g in gaps]).double(), [g.p for g in gaps]
    low, high = nats.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return {
        "coupling": fmean(audit.coupling for audit in found),
        "loss": fmean(g.loss for g in gaps),
        "gap": float(nats.mean()),
        "gap_low": low,
        "gap_high": high,
        "p_median": median(p),
        "p_largest": max(p),
        "p_below_0.05": sum(value < 0.05 for value in p) / len(p),
        "accused": sum(audit.leaks for audit in found) / len(found),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audits", type=int, default=50, help="of each kind and size")
    parser.add_argument("--out", type=Path, default=Path("leakage.json"))
    words = parser.parse_args()
    settings = {
        "devices": DEVICES,
        "width": WIDTH,
        "noise": NOISE,
        "temperature": TEMPERATURE,
        "rounds": ROUNDS,
        "audits": words.audits,
    }
    rows = []
    print(f"{HEAD}{'median p':>10}{'accused':>9}")
    for kind in KINDS:
        for each in PER_DEVICE:
            found = [examine(kind, DEVICES * each, seed) for seed in range(words.audits)]
            row = summary(found)
            spread = f"{row['gap_low']:+.3f} to {row['gap_high']:+.3f}"
            print(
                f"{kind:28}{each:>11}{row['coupling']:>10.3f}{row['gap']:>+11.4f}{spread:>18}"
                f"{row['p_median']:>10.4f}{row['accused']:>9.0%}",
                flush=True,
            )
            rows.append({"norm": kind, "per_device": each, **row})
    words.out.write_text(
        json.dumps(describe() | {"settings": settings, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
