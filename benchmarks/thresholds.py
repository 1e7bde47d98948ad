"""Where the advice's thresholds come from: trainings at many temperatures, and what another brings.

    python benchmarks/thresholds.py --out benchmarks/results/thresholds.json

Trains the digits recipe at each temperature and seed, reads from each run's own snapshot what the
advice reads, and compares with the run at the next temperature: a reading is worth a warning where
the neighbour on that side is the better encoder. At some temperatures it trains again with the
labels as ids, so that no two items of one label are negatives: what knowing all false negatives
would bring. The same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nearfar.anatomy import hardest_share, label_numbers, margin, play
from nearfar.cli import main as nearfar
from nearfar.experiment import Train
from nearfar.pairs import PicturePairs
from nearfar.recipes import build, find
from nearfar.report import Snapshot
from nearfar.train import Run, fit

TEMPERATURES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
WITH_IDS = (0.05, 0.2, 1.0)


def reading(run: Run) -> dict[str, float]:
    """What the advice sees at a run's end, and how good its encoder is."""
    snapshot = Snapshot.load(run)
    query, key = torch.from_numpy(snapshot.query).double(), torch.from_numpy(snapshot.key).double()
    tau = float(snapshot.temperature)
    game = play(query, key, tau)
    labels = label_numbers([str(label) for label in snapshot.labels[: len(query)]])
    assert labels is not None
    learned = json.loads(run.scores.read_text())["rows"]["learned"]
    return {
        "knn": learned["knn"],
        "linear": learned["linear"],
        "hardest_1": float(hardest_share(query, key, tau).mean()),
        "alike": float((labels[game.hardest[:, 0]] == labels).double().mean()),
        "alike_by_chance": float((labels[:, None] == labels).double().mean()),
        "frozen": float(margin(game).frozen),
        "pushing": float((game.effective_negatives / game.negatives).mean()),
    }


def told(tau: float, train: Train) -> float:
    """Nearest-neighbour accuracy after a training that knows its false negatives."""
    run = Run(train.out or "")
    recipe = find("digits")
    experiment = build(recipe, {"temperature": tau}, train.seed)
    pairs, labels = experiment.pairs, experiment.labels
    assert isinstance(pairs, PicturePairs)
    assert labels is not None
    pairs.ids = torch.tensor([int(label) for label in labels])
    run.begin({"recipe": "digits", "temperature": tau, **asdict(train)}, fresh=False)
    fit(experiment, train, run)
    experiment.model.cpu().eval()
    assert experiment.probe is not None
    scores = experiment.probe.score({"learned": experiment.model.embed})
    return scores.rows["learned"]["knn"]


def table(folder: Path, seeds: list[int]) -> list[dict[str, Any]]:
    """One row a temperature: means over the seeds, and what the neighbours bring."""
    rows = []
    for tau in TEMPERATURES:
        found = [reading(Run(folder / f"seed-{seed}" / f"tau-{tau:g}")) for seed in seeds]
        row: dict[str, Any] = {"temperature": tau}
        for name in found[0]:
            values = np.array([one[name] for one in found])
            row[name] = round(float(values.mean()), 4)
            row[f"{name}_sd"] = round(float(values.std(ddof=1)), 4) if len(seeds) > 1 else None
        rows.append(row)
    for here, higher in pairwise(rows):
        here["higher_brings"] = round(higher["knn"] - here["knn"], 4)
        higher["lower_brings"] = round(here["knn"] - higher["knn"], 4)
    return rows


def main() -> None:
    """Train, read, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/thresholds"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", default="600")
    parser.add_argument("--out", type=Path, default=Path("thresholds.json"))
    words = parser.parse_args()
    seeds = [int(seed) for seed in words.seeds.split(",")]
    taus = ",".join(f"{tau:g}" for tau in TEMPERATURES)
    for seed in seeds:
        out = str(words.runs / f"seed-{seed}")
        flags = ["--steps", words.steps, "--seed", str(seed), "--out", out]
        if nearfar(["sweep", "digits", "--temperature", taus, *flags]):
            raise SystemExit(1)
    rows = table(words.runs, seeds)
    for row in rows:
        if (tau := row["temperature"]) in WITH_IDS:
            each = []
            for seed in seeds:
                out = str(words.runs / f"seed-{seed}" / f"ids-{tau:g}")
                each.append(told(tau, Train(out=out, steps=int(words.steps), seed=seed)))
            row["ids_bring"] = round(float(np.mean(each)) - row["knn"], 4)
    kept = {"recipe": "digits", "steps": int(words.steps), "seeds": seeds, "rows": rows}
    words.out.write_text(json.dumps(kept, indent=1) + "\n")
    for row in rows:
        print({name: value for name, value in row.items() if not name.endswith("_sd")})


if __name__ == "__main__":
    main()
