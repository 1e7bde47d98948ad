"""A contrastive and a supervised objective in one encoder: python benchmarks/harmony.py PICTURES

PICTURES is a folder whose sub-folders are classes. 300 pictures of each of ten classes are taken;
a fifth is held out from all labels. Two kinds of labels: ``class``, the folders' names; ``colour``,
which fifth of the pictures its mean red minus blue falls into, which the contrastive views
(``--colour 0.8``) teach the encoder to forget. Every row of the table is the same training (300
steps of 64 pictures of 16 x 16 pixels) with another way to make one gradient of two; figures go to
benchmarks/results/harmony.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from PIL import Image

from nearfar.cli._judge import judge
from nearfar.experiment import Train
from nearfar.model import load
from nearfar.recipes import build, find
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "harmony.json"
EACH, STEPS, BATCH, SIZE = 300, 300, 64, 16
FRACTION = {"class": 0.3, "colour": 0.3}
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "contrastive alone": ({"objective": "info_nce"}, {}),
    "labels alone": ({"objective": "cross_entropy"}, {}),
    **{f"sum, weight {w}": ({"label_weight": w}, {}) for w in (0.1, 0.3, 1.0, 3.0, 10.0)},
    **{name: ({}, {"aggregator": name}) for name in ("upgrad", "pcgrad", "mgda")},
}


def arranged(pictures: Path, kind: str, out: Path) -> Path:
    """A folder of links to the pictures, one sub-folder a label."""
    if out.is_dir():
        return out
    files = [
        file
        for folder in sorted(path for path in pictures.iterdir() if path.is_dir())
        for file in sorted(folder.iterdir())[:EACH]
    ]
    labels = [file.parent.name for file in files]
    if kind == "colour":
        warmth = [np.asarray(Image.open(file).convert("RGB"), float).mean((0, 1)) for file in files]
        tint = np.array([red - blue for red, _, blue in warmth])
        parts = np.searchsorted(np.quantile(tint, [0.2, 0.4, 0.6, 0.8]), tint)
        labels = [f"tint{part}" for part in parts]
    for file, label in zip(files, labels, strict=True):
        (out / label).mkdir(parents=True, exist_ok=True)
        (out / label / f"{file.parent.name}_{file.name}").symlink_to(file.resolve())
    return out


def one(folder: Path, kind: str, way: str, seed: int, out: Path) -> dict[str, float]:
    """Train once; the figures of the table."""
    settings, how = WAYS[way]
    both = {"objective": "info_nce+cross_entropy", "labels_fraction": FRACTION[kind]}
    colour = {"colour": 0.8} if kind == "colour" else {}
    experiment = build(
        find("images"), {"path": str(folder), "size": SIZE, **both, **colour, **settings}, seed
    )
    run = Run(out)
    began = time.perf_counter()
    fit(experiment, Train(steps=STEPS, batch_size=BATCH, seed=seed, **how), run)
    seconds = time.perf_counter() - began
    experiment.model.cpu().eval().save(run.model)
    assert experiment.probe is not None
    untrained = load(run.model, weights=run.untrained)
    rows = judge(experiment.model, untrained, experiment.probe).rows
    last = run.lines()[-5:]
    found = {
        "linear": rows["learned"]["linear"],
        "knn": rows["learned"]["knn"],
        "untrained_linear": rows["untrained"]["linear"],
        "raw_linear": rows["raw input"]["linear"],
        "contrastive_loss": mean(line["info_nce"] for line in last),
        "seconds": seconds,
    }
    for auxiliary in experiment.auxiliaries.values():
        probe = experiment.probe
        found["classifier"] = auxiliary.accuracy(  # type: ignore[attr-defined, operator]
            experiment.model,
            probe.queries,
            probe.query_labels,  # type: ignore[attr-defined]
        )
        found["label_loss"] = mean(line["loss_cross_entropy"] for line in last)
        accords = run.accords()
        floors = [line["floors"] for line in accords if line["floors"]]
        found |= {
            "conflicts": mean(line["cosine"] < 0 for line in accords),
            "cosine": mean(line["cosine"] for line in accords),
            "ratio": float(np.median([line["ratio"] for line in accords])),
            "floor_contrastive": mean(line["contrastive"] for line in floors),
            "floor_labels": mean(line["cross_entropy"] for line in floors),
        }
    return found


_COLUMNS = {
    "linear": "linear probe",
    "knn": "kNN",
    "classifier": "classifier",
    "contrastive_loss": "InfoNCE",
    "label_loss": "cross-entropy",
    "conflicts": "conflicts",
    "cosine": "cosine",
    "seconds": "seconds",
}


def markdown(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """The table of one kind of labels, mean and standard deviation over seeds."""
    lines = ["| | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for way in (way for way in WAYS if way in rows):
        cells = []
        for column in _COLUMNS:
            values = [one[column] for one in rows[way].values() if column in one]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    every = [one for way in rows.values() for one in way.values()]
    both = [one for one in every if "floor_labels" in one]
    for name, among in (
        ("untrained_linear", every),
        ("raw_linear", every),
        ("floor_contrastive", both),
        ("floor_labels", both),
    ):
        lines.append(f"{name}: {mean(one[name] for one in among):.3f}")
    return "\n".join(lines)


def main() -> None:
    """Fill the table, cell by cell; what is there is kept."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("pictures", type=Path)
    parse.add_argument("--kinds", nargs="+", choices=list(FRACTION), default=list(FRACTION))
    parse.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parse.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parse.add_argument("--work", type=Path, default=Path("runs/harmony"))
    parse.add_argument("--table", action="store_true", help="Print what is there as tables.")
    given = parse.parse_args()
    table = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for seed in given.seeds:
        for kind in given.kinds:
            folder = arranged(given.pictures, kind, given.work / kind)
            for way in given.ways:
                cells = table.setdefault(kind, {}).setdefault(way, {})
                if str(seed) not in cells:
                    out = given.work / "runs" / f"{kind} {way} {seed}"
                    cells[str(seed)] = one(folder, kind, way, seed, out)
                    RESULTS.write_text(json.dumps(table, indent=1) + "\n")
                    print(kind, way, seed, json.dumps(cells[str(seed)]), flush=True)
    if given.table:
        for kind, rows in table.items():
            print(f"\n{kind}\n{markdown(rows)}")


if __name__ == "__main__":
    main()
