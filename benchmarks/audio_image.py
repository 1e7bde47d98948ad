"""The tables of docs/audio_image.md: python benchmarks/audio_image.py PART DATA

DATA holds the folders animal_sounds, animal_images and camtrap_real. Real signals with simulated
clocks; see audio_image_streams.py for the split. Settings were chosen on validation recordings and
photos with true pairs; nothing was chosen on the test ones. Figures go to
benchmarks/results/audio_image.json; a training that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from audio_image_clocks import camtrap, false_alarms, offsets
from audio_image_leak import leak
from audio_image_streams import CLASSES, RATE, SECONDS, Errors, Signals, signals, simulate
from rich.console import Console

from nearfar.encoders import ResNet, SoundConv, TwoTowers
from nearfar.experiment import Experiment, Train
from nearfar.loss import InfoNCE, Temperature
from nearfar.model import Model
from nearfar.pairs import seeded, simclr_views
from nearfar.pairs.audio_image import (
    Clocks,
    SenseReader,
    Stream,
    TimePairs,
    align,
    believed,
    is_sound,
    numbers,
)
from nearfar.pairs.audio_image._clock import Clock
from nearfar.probes import CrossModal, SharedDirections
from nearfar.train import Run, fit

RESULTS = Path(__file__).parent / "results" / "audio_image.json"
ERRORS = {
    "none": Errors(),
    "jitter 30 s": Errors(jitter=30),
    "offset 120 s, jitter 10 s": Errors(offset=120, jitter=10),
    "offset 600 s, jitter 10 s": Errors(offset=600, jitter=10),
    "offset 600 s, drift 100 ppm, jitter 30 s": Errors(offset=600, drift=100, jitter=30),
    "offset 3600 s, drift 100 ppm, jitter 30 s": Errors(offset=3600, drift=100, jitter=30),
}
METHODS = ("true", "nearest", "window", "soft", "mil", "estimated")


def pairs_of(heard: Stream, seen: Stream, method: str, errors: Errors) -> TimePairs:
    """Who is paired with whom.

    ``true``: clocks and partners as they were, without jitter. ``estimated`` and ``scores``: the
    recipe's default, ``scores`` without a look at the trains. Others: stamps as they are, windows
    of 60 s, Gaussians of 30 s.
    """
    reader = SenseReader(RATE, SECONDS, 32)
    common: dict[str, Any] = {"reach": 4000.0}
    clocks = believed(heard.moments, seen.moments, 30.0)
    if method == "true":
        common["relation"] = "nearest"
    elif method == "estimated":
        clocks = align(heard.moments, seen.moments, reach=4000.0, drift=2e-4)
    elif method == "scores":
        since = float(heard.moments.stamps.mean())
        clocks = Clocks({"recorder": Clock(by="trains", since=since)}, clocks.pictures, ("camera",))
    else:
        common |= {"relation": method, "window": 60.0}
    return TimePairs(heard, seen, simclr_views(32, crop=0.8, colour=0.1), reader, clocks, **common)


def trained(pairs: TimePairs, seed: int, steps: int, folder: Path) -> Model:
    """The recipe's encoders on these pairs, by the one loop."""
    with seeded(seed):
        network = TwoTowers.of(SoundConv(RATE, (24, 48, 96)), ResNet((32, 64, 128)), 128)
    tau = Temperature(0.1)
    form = "in" if pairs.relation == "mil" else "out"
    experiment = Experiment(
        model=Model(SenseReader(RATE, SECONDS, 32), network),
        pairs=pairs,
        objective=InfoNCE(tau, symmetric=True, form=form),
        temperature=tau,
        inputs=pairs.sounds.items,
    )
    train = Train(out=str(folder), steps=steps, batch_size=64, lr=LR, seed=seed)
    run = Run(folder)
    run.begin({"recipe": "benchmark"}, fresh=True)
    fit(experiment, train, run, Console(quiet=True))
    return experiment.model.eval()


LR = 1.5e-3


def judged(
    data: Signals, part: str, embed: Any, pairs: TimePairs | None = None
) -> dict[str, float]:
    """Every figure on recordings and photos that nothing was learned from."""
    ears, eyes = data.sound_split == part, data.picture_split == part
    extra = {}
    if pairs is not None:
        sound, picture = pairs.nearest()
        extra["cca"] = SharedDirections(
            partial(numbers, pairs._reader),
            list(pairs.waves[sound].numpy()),
            list(pairs.pixels[picture].permute(0, 2, 3, 1).numpy()),
            is_sound,
        )
    probe = CrossModal(
        sounds=list(data.waves[torch.from_numpy(ears)].numpy()),
        pictures=list(data.pixels[torch.from_numpy(eyes)].permute(0, 2, 3, 1).numpy()),
        sound_labels=data.sound_labels[ears].tolist(),
        picture_labels=data.picture_labels[eyes].tolist(),
        baselines=extra,
    )
    rows = probe.score({"learned": embed}).rows
    out = rows["learned"]
    if pairs is not None:
        out |= {"cca": rows["cca"]["map"], "cca_back": rows["cca"]["map_back"]}
    return out


def one(
    data: Signals, name: str, method: str, seed: int, steps: int, part: str, errors: Errors
) -> dict[str, Any]:
    """One training: what it found, and how well it does."""
    seen_errors = Errors(both=errors.both) if method == "true" else errors
    parts = ("train",) if part == "validation" else ("train", "validation")
    heard, seen, ears, eyes = simulate(data, seen_errors, seed=seed, parts=parts)
    began, cpu = time.perf_counter(), time.process_time()
    pairs = pairs_of(heard, seen, method, errors)
    with TemporaryDirectory() as folder:
        model = trained(pairs, seed, steps, Path(folder) / "run")
    labels = [np.array(side.labels) for side in (pairs.sounds, pairs.pictures)]
    chosen = pairs.partners
    right = labels[0][chosen.sound] == labels[1][chosen.picture]
    same = ears[chosen.sound] == eyes[chosen.picture]
    clock = pairs.clocks.sounds["recorder"]
    return {
        **judged(data, part, model.embed, pairs if method == "nearest" else None),
        "class_right": float((chosen.likely * right).sum() / chosen.likely.sum()),
        "partner_right": float((chosen.likely * same).sum() / chosen.likely.sum()),
        "offset": clock.offset,
        "drift_ppm": 1e6 * clock.drift,
        "jitter": clock.jitter,
        "z": clock.z,
        "found": clock.found,
        "by": clock.by,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
    }


def main() -> None:
    """Make one table, print it and keep it."""
    global LR
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["curves", "long", "scores", "tune", "offsets", "false_alarms", "camtrap", "leak"]
    parser.add_argument("part", choices=parts)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--errors", nargs="+", default=list(ERRORS))
    parser.add_argument("--both", type=float, default=1.0)
    parser.add_argument("--lr", type=float, default=LR)
    words = parser.parse_args()
    LR = words.lr
    torch.set_num_threads(1)
    if words.part in ("offsets", "false_alarms", "camtrap", "leak"):
        made = {
            "offsets": lambda: offsets(ERRORS, words.seeds),
            "false_alarms": false_alarms,
            "camtrap": lambda: camtrap(words.data / "camtrap_real"),
            "leak": lambda: leak(words.data),
        }[words.part]()
        keep(words.part, made)
        return
    data = signals(words.data)
    assert set(CLASSES) == set(data.sound_labels)
    split = "validation" if words.part == "tune" else "test"
    for seed in words.seeds:
        for name in words.errors:
            for method in words.methods:
                key = f"{name} | {method} | seed {seed} | steps {words.steps} | both {words.both:g}"
                if words.part == "tune":
                    key += f" | lr {words.lr:g}"
                if key in load().get(words.part, {}):
                    continue
                errors = replace(ERRORS[name], both=words.both)
                keep(words.part, {key: one(data, name, method, seed, words.steps, split, errors)})


def load() -> dict[str, Any]:
    """What is measured already."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def keep(part: str, made: dict[str, Any]) -> None:
    """Add figures to the results."""
    every = load()
    every.setdefault(part, {}).update(made)
    RESULTS.write_text(json.dumps(every, indent=1) + "\n")
    print(json.dumps(made, indent=1), flush=True)


if __name__ == "__main__":
    main()
