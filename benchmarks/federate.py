"""The tables of docs/federate.md: python benchmarks/federate.py PART GENOMES --seeds 1 2 3 4 5

GENOMES is the folder of benchmarks/dna.py: FASTA files named SPECIES__STRAIN.fa.gz. Its split gives
20 training genomes of 16 species; ten simulated clients hold two genomes each. Reads of 150 bases
of the training genomes (200 a species) teach the classifiers; reads of other strains, or of the
other half of a genome (100 a species), test them. Settings were chosen with seed 0 on validation
reads. Figures go to benchmarks/results/federate.json, one training at a time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dna_split import split

from nearfar.federate import Federation, Plan, model_of, simulate
from nearfar.federate import Split as Deal
from nearfar.model import Model
from nearfar.pairs import Inputs
from nearfar.probes import Vectors, knn, linear_probe
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "federate.json"
PLAIN: dict[str, Any] = {"rounds": 20, "local_steps": 5, "batch_size": 64, "lr": 3e-3}
LONG: dict[str, Any] = {"rounds": 60, "local_steps": 10, "lr": 1.5e-3}
BANK = {"share": "keys", "contribution": 64, "weight": 0.3}
# Name to what differs: clients' negatives, the split, the age of the bank, privacy.
RUNS: dict[str, dict[str, Any]] = {
    "local": {"share": "nothing"},
    "bank": BANK,
    "iid": {"share": "nothing"},
    "sync2": BANK | {"sync": 2},
    "sync4": BANK | {"sync": 4},
    "sync8": BANK | {"sync": 8},
    "sums": BANK | {"share": "sums"},
    "sums_eps8": BANK | {"share": "sums", "epsilon": 8.0},
    "keys_eps8": BANK | {"epsilon": 8.0},
    "long_local": LONG | {"share": "nothing"},
    "long_bank": LONG | BANK | {"weight": 1.0},
}
PARTS = {
    "main": ["local", "bank", "iid", "central", "central_long", "untrained"],
    "stale": ["sync2", "sync4", "sync8"],
    "private": ["sums", "sums_eps8", "keys_eps8"],
    "long": ["long_local", "long_bank", "long_central"],
}


def figures(embed: Callable[[Any], Vectors], gallery: Inputs, test: Inputs) -> dict[str, float]:
    """kNN, linear probe, and whether the nearest of all clients' reads is of the same species."""
    assert gallery.labels is not None
    assert test.labels is not None
    a, b = embed(gallery.items), embed(test.items)
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (a, b))
    nearest = np.asarray(gallery.labels)[(b @ a.T).argmax(1)]
    return {
        "knn": knn(a, gallery.labels, b, test.labels, 20),
        "linear": linear_probe(a, gallery.labels, b, test.labels),
        "retrieval": float((nearest == np.asarray(test.labels)).mean()),
    }


def federated(
    name: str, folder: Path, work: Path, seed: int, gallery: Inputs, test: Inputs
) -> dict[str, Any]:
    """One run of clients; its bytes, its ledger, and how far entries drift with age."""
    federation = Federation(**PLAIN | RUNS[name], seed=seed)
    deal = Deal(clients=10, split="iid" if name == "iid" else "label-skew", classes=2)
    plan = Plan("dna", recipe_settings(folder), federation, deal)
    run, history = Run(work / f"{name}{seed}"), list[Any]()
    run.begin({"recipe": "dna", "seed": seed}, fresh=True)

    def keep(line: str) -> None:
        if line.startswith("round"):
            history.append(torch.load(run.checkpoint, weights_only=True)["learner"])

    began = time.process_time()
    server = simulate(plan, run, keep)
    seconds = time.process_time() - began
    found: dict[str, Any] = figures(model_of(server.model, server.weights).embed, gallery, test)
    last = run.lines()[-1]
    traffic = {key: last[key] for key in ("bytes_up", "bytes_down")}
    found |= traffic | {"cpu_seconds": seconds, "epsilon": server.ledger()["epsilon"]}
    if name == "bank":
        some = gallery.items[:: len(gallery.items) // 200]
        each = [model_of(server.model, weights).embed(some) for weights in history]
        found["drift"] = {
            age: float(np.mean([(each[t] * each[t - age]).sum(1) for t in range(age, len(each))]))
            for age in range(1, 9)
        }
    return found


def central(
    name: str, folder: Path, work: Path, seed: int, gallery: Inputs, test: Inputs
) -> dict[str, Any]:
    """All genomes in one place: the clients' batches as one, or as many steps as they take."""
    settings = PLAIN | LONG if name == "long_central" else PLAIN
    federation = Federation(**settings, seed=seed)
    experiment = Plan("dna", recipe_settings(folder), federation).experiment()
    model: Model = experiment.model
    if name != "untrained":
        run = Run(work / f"{name}{seed}")
        run.begin({"recipe": "dna", "seed": seed}, fresh=True)
        steps, size = federation.rounds * federation.local_steps, PLAIN["batch_size"]
        more = {"steps": 10 * steps} if name == "central_long" else {"batch_size": 10 * size}
        fit(experiment, replace(federation.train(), **more), run)
    return figures(model.embed, gallery, test)


def recipe_settings(folder: Path) -> dict[str, Any]:
    """As `nearfar train dna` would take them."""
    return {"path": str(folder), "positives": "genome", "k": 6, "longest": 250}


def main() -> None:
    """Train, judge, write after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("genomes", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/federate-dna"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    words = parser.parse_args()
    cut = split(words.genomes, words.work)
    folder = words.work / "labelled"
    for file in cut.folder.glob("*.fa.gz"):
        # The sub-folder is the label that clients are dealt by: a genome.
        own = folder / file.name.removesuffix(".fa.gz") / file.name
        own.parent.mkdir(parents=True, exist_ok=True)
        if not own.exists():
            own.symlink_to(file.resolve())
    gallery, test = cut.reads("gallery", 150), cut.reads("test", 150)
    every = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if words.part == "main" and "raw" not in every:
        experiment = Plan("dna", recipe_settings(folder), Federation()).experiment()
        baselines = experiment.model.reader.baselines()
        every["raw"] = {key: figures(embed, gallery, test) for key, embed in baselines.items()}
    for seed in words.seeds:
        for name in PARTS[words.part]:
            if str(seed) in every.setdefault(name, {}):
                continue
            one = federated if name in RUNS else central
            every[name][str(seed)] = one(name, folder, words.work, seed, gallery, test)
            RESULTS.write_text(json.dumps(every, indent=1) + "\n")
            print(name, seed, every[name][str(seed)], flush=True)
    print(table(every, PARTS[words.part]))


def table(every: dict[str, Any], names: Sequence[str]) -> str:
    """Mean ± deviation over seeds, as the page shows it."""
    lines = ["| run | seeds | kNN | linear probe | retrieval |", "|---|---|---|---|---|"]
    for name in names:
        rows = list(every.get(name, {}).values())
        cells = []
        for key in ("knn", "linear", "retrieval"):
            values = np.array([row[key] for row in rows])
            spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.3f}{spread}")
        lines.append(f"| {name} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
