"""What looking costs: the share of a training's time that its diagnostics take.

    python benchmarks/diagnostics.py --out benchmarks/results/diagnostics.json

A look at the game (`contrastive_stats`) every `LOOK_EVERY` steps, against steps of the digits'
recipe with batches of 128 and 512; medians.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch
from machine import describe

from nearfar import contrastive_stats
from nearfar.recipes import build, find
from nearfar.train._loop import LOOK_EVERY


def seconds(action: object, repeats: int) -> float:
    """Median of one call."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()  # type: ignore[operator]
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])


def main() -> None:
    """Time both, print a line for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    experiment = build(find("digits"), {}, seed=0)
    model, optimizer = experiment.model, torch.optim.AdamW(experiment.model.parameters())
    rows = []
    for batch_size in (128, 512):
        batch = experiment.pairs.draw(torch.arange(batch_size), torch.device("cpu"))

        def step(batch: object = batch) -> None:
            optimizer.zero_grad()
            experiment.objective(model(batch.query), model(batch.key), ids=batch.ids).backward()
            optimizer.step()

        with torch.no_grad():
            query, key = model(batch.query), model(batch.key)
        one, look = (
            seconds(step, 21),
            seconds(lambda q=query, k=key: contrastive_stats(q, k, 0.2), 21),
        )
        share = look / (LOOK_EVERY * one + look)
        rows.append({"batch": batch_size, "step": one, "look": look, "share": share})
        print(f"batch {batch_size}: step {one * 1e3:.1f} ms, look {look * 1e3:.1f} ms, {share:.2%}")
    if words.out:
        words.out.write_text(json.dumps(describe() | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
