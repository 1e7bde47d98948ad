"""The graph recipe's table: each set, several seeds, beside the free baselines of the same run.

python benchmarks/graphs.py cora=planetoid/ind.cora citeseer=planetoid/ind.citeseer --seeds 10

A set's settings are those of `SETTINGS`, chosen on its validation nodes; ``--flags`` come on top
(--flags="--positives self"). Figures are added to benchmarks/results/graphs.json.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nearfar.experiment import Train
from nearfar.model import load
from nearfar.recipes import build, find
from nearfar.train import Run, fit

# What is not the recipe's default, as flags of `nearfar train graphs`.
SETTINGS: dict[str, dict[str, Any]] = {
    "cora": {"products": "bf16"},
    "citeseer": {"hops": 2, "steps": 50, "products": "bf16"},
}
RESULTS = Path(__file__).parent / "results" / "graphs.json"
TRAIN = Train.__dataclass_fields__
Rows = dict[str, dict[str, float]]


def trained(path: str, seed: int, flags: dict[str, Any], baselines: bool) -> Rows:
    """Rows of the evaluation of one run; those without training need no second one."""
    how = Train(seed=seed, **{name: flags[name] for name in flags if name in TRAIN})
    what = {name: value for name, value in flags.items() if name not in TRAIN}
    experiment = build(find("graphs"), {"path": path, **what}, seed)
    model = experiment.model
    with tempfile.TemporaryDirectory() as out:
        run = Run(out)
        run.begin({"recipe": "graphs", "path": path}, fresh=True)
        fit(experiment, how, run)
        model.cpu().eval().save(run.model)
        untrained = load(run.model, weights=run.untrained)
    features = {"learned": model.embed, "untrained": untrained.embed}
    if baselines:
        features |= model.reader.baselines()
    assert experiment.probe is not None
    return experiment.probe.score(features).rows


def table(path: str, seeds: int, flags: dict[str, Any]) -> dict[str, Any]:
    """Mean and deviation over seeds of every kind of features."""
    began = time.perf_counter()
    runs = [trained(path, seed, flags, seed == 0) for seed in range(seeds)]
    rows: dict[str, dict[str, Any]] = {}
    for name, first in runs[0].items():
        rows[name] = {}
        for measure in first:
            values = [run[name][measure] for run in runs if name in run]
            rows[name][measure] = {
                "mean": round(float(np.mean(values)), 4),
                "deviation": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
                "values": [round(value, 4) for value in values],
            }
    return {
        "flags": flags,
        "seeds": seeds,
        "seconds_a_seed": round((time.perf_counter() - began) / seeds, 1),
        "peak_gib_of_the_process": round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2
        ),
        "rows": rows,
    }


def parsed(words: str) -> dict[str, Any]:
    """``--hops 2 --positives self`` to names and values."""
    parts = shlex.split(words)
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name.removeprefix("--"): _value(value) for name, value in pairs}


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except json.JSONDecodeError:
        return word


def main() -> None:
    """Train, judge, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="+", help="name=path")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--flags", default="", help="Further flags of nearfar train graphs.")
    given = parser.parse_args()
    for one in given.sets:
        name, _, path = one.partition("=")
        flags = {**SETTINGS.get(name, {}), **parsed(given.flags)}
        result = table(path, given.seeds, flags)
        held = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        held[f"{name} {given.flags}".strip()] = result
        RESULTS.write_text(json.dumps(held, indent=2) + "\n")
        for row, measures in result["rows"].items():
            accuracy = measures["accuracy"]
            spread = 100 * (accuracy["deviation"] or 0)
            print(f"{name:<12}{row:<16}{100 * accuracy['mean']:.2f} +- {spread:.2f}", flush=True)


if __name__ == "__main__":
    main()
