"""Two objectives in one encoder: python benchmarks/harmony.py words CORPUS, or ... class PICTURES

``words``: the translation recipe on aligned files CORPUS.en and CORPUS.de; InfoNCE between
translations, beside telling a translation from its own shuffled words. ``class``: the images recipe
on a folder whose sub-folders are classes; InfoNCE between views, beside cross-entropy on 30 % of
the labels. Every row is the same short training with another way to make one gradient of two.
Figures go to benchmarks/results/harmony.json; what is there is not run again, and ``--table``
prints it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from nearfar.cli._judge import judge
from nearfar.experiment import Experiment, Train
from nearfar.model import load
from nearfar.recipes import build, find
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "harmony.json"


@dataclass(frozen=True)
class Kind:
    """What two objectives are compared on.

    Attributes:
        recipe: Its name.
        settings: Its arguments, but for the path and the second objective's weight.
        weight: The argument that is this weight.
        second: The second objective's name.
        measures: The probe's, to what the table calls them.
        train: How.
    """

    recipe: str
    settings: dict[str, Any]
    weight: str
    second: str
    measures: dict[str, str]
    train: dict[str, Any]


KINDS = {
    "words": Kind(
        "translation",
        {"languages": "en,de", "vocabulary": 4000, "width": 128, "layers": 1},
        "fakes",
        "fakes",
        {"en-de": "en to de", "de-en": "de to en", "word order": "true > shuffled"},
        {"steps": 200, "batch_size": 128},
    ),
    "class": Kind(
        "images",
        {"size": 16, "objective": "info_nce+cross_entropy", "labels_fraction": 0.3},
        "label_weight",
        "cross_entropy",
        {"linear": "linear probe", "knn": "kNN"},
        {"steps": 300, "batch_size": 64},
    ),
}
# Weight of the second objective, whether the first one counts, and the aggregator.
WAYS: dict[str, tuple[float, bool, str]] = {
    "sum, weight 1": (1.0, True, "sum"),
    "contrastive alone": (0.0, True, "sum"),
    "second alone": (1.0, False, "sum"),
    "upgrad": (1.0, True, "upgrad"),
    "pcgrad": (1.0, True, "pcgrad"),
    "mgda": (1.0, True, "mgda"),
    "cagrad": (1.0, True, "cagrad"),
    "alignedmtl": (1.0, True, "alignedmtl"),
    "sum, weight 0.1": (0.1, True, "sum"),
    "sum, weight 0.3": (0.3, True, "sum"),
    "sum, weight 3": (3.0, True, "sum"),
    "sum, weight 10": (10.0, True, "sum"),
}


def built(kind: Kind, path: str, way: str, seed: int) -> Experiment:
    """The recipe's experiment, its second objective watched where it does not count."""
    weight, first, _ = WAYS[way]
    settings = {"path": path, **kind.settings, kind.weight: weight or 1.0}
    experiment = build(find(kind.recipe), settings, seed)
    for auxiliary in experiment.auxiliaries.values():
        auxiliary.weight = weight
    return replace(experiment, contrastive_weight=1.0 if first else 0.0)


def one(kind: Kind, path: str, way: str, seed: int, out: Path) -> dict[str, float]:
    """Train once; the figures of the table."""
    experiment, run = built(kind, path, way, seed), Run(out)
    began = time.process_time()
    fit(experiment, Train(seed=seed, aggregator=WAYS[way][2], **kind.train), run)  # type: ignore[arg-type]
    seconds = time.process_time() - began
    experiment.model.cpu().eval().save(run.model)
    assert experiment.probe is not None
    rows = judge(experiment.model, load(run.model, weights=run.untrained), experiment.probe).rows
    last, accords = run.lines()[-5:], run.accords()
    floors = [line["floors"] for line in accords if line["floors"]]
    return {
        **{name: rows["learned"][name] for name in kind.measures},
        **{f"untrained {name}": rows["untrained"][name] for name in kind.measures},
        "contrastive_loss": mean(line["info_nce"] for line in last),
        "second_loss": mean(line[f"loss_{kind.second}"] for line in last),
        "conflicts": mean(line["cosine"] < 0 for line in accords),
        "cosine": mean(line["cosine"] for line in accords),
        "ratio": median(line["ratio"] for line in accords),
        "floor_contrastive": mean(line["contrastive"] for line in floors),
        "floor_second": mean(line[kind.second] for line in floors),
        "floor_conflicts": mean(value < 0 for line in floors for value in line.values()),
        "cpu_seconds": seconds,
    }


def markdown(kind: Kind, rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """One kind's table, mean and standard deviation over seeds."""
    columns = {**kind.measures, "contrastive_loss": "InfoNCE", "second_loss": "second loss"}
    columns |= {"conflicts": "conflicts", "cosine": "cosine", "cpu_seconds": "CPU s"}
    lines = ["| | " + " | ".join(columns.values()) + " |", "|---" * (len(columns) + 1) + "|"]
    for way in (way for way in WAYS if way in rows):
        cells = []
        for column in columns:
            # The first seeds' times were of a clock on the wall.
            values = [found[column] for found in rows[way].values() if column in found]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    every = [found for way in rows.values() for found in way.values()]
    more = [f"untrained {name}" for name in kind.measures]
    for name in [*more, "ratio", "floor_contrastive", "floor_second", "floor_conflicts"]:
        lines.append(f"{name}: {mean(found[name] for found in every):.3f}")
    return "\n".join(lines)


def main() -> None:
    """Fill a table, cell by cell; what is there is kept."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("kind", choices=list(KINDS))
    parse.add_argument("path")
    parse.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parse.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parse.add_argument("--work", type=Path, default=Path("runs/harmony"))
    parse.add_argument("--table", action="store_true", help="Print what is there, run nothing.")
    given = parse.parse_args()
    kind = KINDS[given.kind]
    table = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows = table.setdefault(given.kind, {})
    if given.table:
        print(markdown(kind, rows))
        return
    for seed in given.seeds:
        for way in given.ways:
            cells = rows.setdefault(way, {})
            if str(seed) not in cells:
                out = given.work / f"{given.kind} {way} {seed}"
                cells[str(seed)] = one(kind, given.path, way, seed, out)
                RESULTS.write_text(json.dumps(table, indent=1) + "\n")
                print(given.kind, way, seed, json.dumps(cells[str(seed)]), flush=True)


if __name__ == "__main__":
    main()
