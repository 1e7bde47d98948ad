"""Accuracy against minutes: keep a training's checkpoints while it runs, then judge each.

    nearfar train images TRAIN --out runs/curve &
    python benchmarks/learning_curve.py runs/curve TRAIN TEST

TRAIN and TEST are folders whose sub-folders are labels, used for judging only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

import torch

import nearfar
from nearfar.model import Model
from nearfar.pairs import ImageFolder
from nearfar.probes import knn, linear_probe, neighbours_for
from nearfar.train import Run


def watch(run: Run, seen: Path, every: float) -> None:
    """Copy the newest checkpoint every so many seconds until the run has ended."""
    seen.mkdir(exist_ok=True)
    while not run.model.is_dir():
        if run.checkpoint.is_file():
            shutil.copy(run.checkpoint, seen / f"{time.time():.0f}.ckpt")
        time.sleep(every)
    shutil.copy(run.checkpoint, seen / "last.ckpt")


def judge(run: Run, seen: Path, train: ImageFolder, test: ImageFolder) -> list[dict[str, float]]:
    """kNN and linear accuracy of every kept checkpoint, by step."""
    seconds = {line["step"]: line["seconds"] for line in run.lines()}
    assert train.labels is not None, "sub-folders are labels"
    assert test.labels is not None, "sub-folders are labels"
    curve: dict[int, dict[str, float]] = {}
    for path in sorted(seen.iterdir()):
        state = torch.load(path, map_location="cpu", weights_only=True)
        step = state["step"]
        if step in curve:
            continue
        model: Model = nearfar.load(run.folder)
        weights = state["learner"]
        # The head is in the checkpoint, and no longer in the finished model.
        model.load_state_dict({name: weights[f"model.{name}"] for name in model.state_dict()})
        gallery, queries = model.embed(train.files), model.embed(test.files)
        at = max((known for known in seconds if known <= step), default=0)
        curve[step] = {
            "step": step,
            "minutes": round(seconds.get(at, 0.0) / 60, 2),
            "knn": knn(gallery, train.labels, queries, test.labels, neighbours_for(len(gallery))),
            "linear": linear_probe(gallery, train.labels, queries, test.labels),
        }
        print(curve[step], flush=True)
    return [curve[step] for step in sorted(curve)]


def plot(curve: list[dict[str, float]], path: Path) -> None:
    """The curve as a picture."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    minutes = [point["minutes"] for point in curve]
    for name, label in (("linear", "linear probe"), ("knn", "kNN")):
        axes.plot(minutes, [point[name] for point in curve], marker="o", markersize=3, label=label)
    axes.set(xlabel="minutes on two CPU cores", ylabel="accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Watch, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--every", type=float, default=90, help="seconds between two checkpoints")
    parser.add_argument("--out", type=Path, default=Path("learning_curve.json"))
    parser.add_argument("--plot", type=Path, help="an .svg; needs matplotlib")
    words = parser.parse_args()
    run, seen = Run(words.run), words.run / "seen"
    watch(run, seen, words.every)
    curve = judge(run, seen, ImageFolder(words.train), ImageFolder(words.test))
    words.out.write_text(json.dumps(curve, indent=1) + "\n")
    if words.plot:
        plot(curve, words.plot)


if __name__ == "__main__":
    main()
