"""The tables of docs/pixels.md: python benchmarks/pixels.py PART DAVIS BADJA VIDEOS [FLOWS]

DAVIS holds frames/ and masks/ (DAVIS-2016 validation clips at half size), BADJA the joints of some
of them (JSON), VIDEOS unlabelled videos, FLOWS pictures with known flow. Figures go to
benchmarks/results/pixels.json.

Split: TEST clips are never trained on and nothing was chosen on them but what the page says;
settings were chosen on VALIDATION clips, which are not trained on either; training sees the frames
of the other clips and the unlabelled videos, never a mask or a joint.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray

import nearfar
from nearfar.cli import main as nearfar_command
from nearfar.pairs.pixels import Grid, PixelReader
from nearfar.probes import Embed, PixelProbe

Picture = NDArray[np.uint8]
RESULTS = Path(__file__).parent / "results" / "pixels.json"
TEST = ("cows", "dog", "drift-chicane", "parkour", "paragliding-launch")
VALIDATION = ("blackswan", "breakdance")
VARIANTS: dict[str, list[str]] = {
    "flow, up to 4 frames": [],
    "flow, 1 frame": ["--gap", "1"],
    "flow, up to 4 frames, no checks": ["--checks", "false"],
    "augmentation only": ["--gap", "0"],
    "nothing hidden": ["--hide", "0"],
}


def folders(davis: Path, badja: Path, videos: Path, work: Path) -> dict[str, Path]:
    """Folders of links: train, validation, test."""
    made = {name: work / name for name in ("train", "validation", "test")}
    for kind in ("frames", "masks"):
        for clip in sorted((davis / kind).iterdir()):
            part = (
                "test"
                if clip.name in TEST
                else "validation"
                if clip.name in VALIDATION
                else "train"
            )
            # What training sees has no masks beside it.
            if (part, kind) != ("train", "masks"):
                _link(made[part] / kind / clip.name, clip)
    for video in sorted(videos.glob("*.m*")):
        _link(made["train"] / "videos" / video.name, video)
    for file in sorted(badja.glob("*.json")):
        if file.stem in TEST:
            _link(made["test"] / "joints" / file.name, file)
    return made


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(target.resolve())


def trained(name: str, seed: int, train: Path, work: Path, words: list[str]) -> Path:
    """Train by the command line, unless the run is there."""
    out = work / f"{name.replace(' ', '_').replace(',', '')}_{seed}"
    if not (out / "model").is_dir():
        own = [*VARIANTS[name], *words, "--seed", str(seed), "--out", str(out)]
        assert nearfar_command(["train", "pixels", str(train), *own]) == 0
    return out


def features(run: Path) -> dict[str, Embed]:
    """Learned and untrained."""
    untrained = nearfar.load(run, weights=run / "checkpoints" / "untrained.safetensors")
    return {"learned": nearfar.load(run).embed, "untrained": untrained.embed}


def judged(probe: PixelProbe, embeds: dict[str, Embed], parts: list[str]) -> dict[str, Any]:
    """Rows of one probe, those parts of it alone."""
    kept: dict[str, Any] = {"masked": (), "tracked": (), "pairs": ()}
    kept = {name: getattr(probe, name) if name in parts else empty for name, empty in kept.items()}
    return dict(replace(probe, **kept).score(embeds).rows)


def by_gap(probe: PixelProbe, kinds: dict[str, tuple[Embed | None, bool]]) -> dict[str, Any]:
    """PCK@0.2 and median error by frames since the query; every mark is a query once."""
    out: dict[str, Any] = {}
    for name, (embed, flow) in kinds.items():
        found: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for clip in probe.tracked:
            truth = clip.tracks
            assert truth is not None
            joint, begin = np.nonzero(~np.isnan(truth[..., 0]))
            queries = np.column_stack([begin, truth[joint, begin]]).astype(np.float32)
            track = probe.tracker.follow(clip, queries, embed, probe.flow if flow else None)
            for row, (which, start) in enumerate(zip(joint, begin, strict=True)):
                for end in range(start + 1, truth.shape[1]):
                    mask = clip.mask(end) if not np.isnan(truth[which, end, 0]) else None
                    if mask is not None:
                        error = np.linalg.norm(track.points[row, end] - truth[which, end])
                        size = np.sqrt((mask > 0).sum())
                        found[(end - start) // 10 * 10].append((float(error / size), float(error)))
        out[name] = {
            f"{gap} to {gap + 9}": {
                "pck": float(np.mean([relative <= 0.2 for relative, _ in errors])),
                "pixels": float(np.median([pixels for _, pixels in errors])),
                "marks": len(errors),
            }
            for gap, errors in sorted(found.items())
            if len(errors) >= 50
        }
    return out


def recoloured(probe: PixelProbe, embeds: dict[str, Embed]) -> dict[str, dict[str, float]]:
    """Share of 300 random places that are found within 8 pixels in their own frame, recoloured."""
    changes: dict[str, Callable[[Picture], Picture]] = {
        "as it is": lambda p: p,
        "half as bright": lambda p: (p * 0.5).astype(np.uint8),
        "grey": lambda p: np.repeat(p.mean(2, keepdims=True), 3, 2).astype(np.uint8),
        "channels exchanged": lambda p: np.ascontiguousarray(p[..., [2, 0, 1]]),
    }
    out: dict[str, dict[str, float]] = {}
    for name, embed in embeds.items():
        for change, made in changes.items():
            shares = []
            for clip in probe.masked:
                for number in (0, 10, 20):
                    picture, rng = clip.picture(number), np.random.default_rng(number)
                    height, width = picture.shape[:2]
                    points = rng.uniform(8, (width - 8, height - 8), (300, 2)).astype(np.float32)
                    similar = embed(Grid(picture, points)) @ embed(Grid(made(picture), points)).T
                    off = np.linalg.norm(points[similar.argmax(1)] - points, axis=1)
                    shares.append(float((off <= 8).mean()))
            out.setdefault(name, {})[change] = float(np.mean(shares))
    return out


def kept(part: str, made: Any, about: dict[str, Any]) -> None:
    """Print a table and keep it."""
    every = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    every[part] = {"machine": describe(), **about, "table": made}
    RESULTS.write_text(json.dumps(every, indent=1) + "\n")
    print(json.dumps(made, indent=1))


def main() -> None:
    """Make one table, print it and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "part", choices=["train", "points", "masks", "gaps", "flows", "colour", "ablation"]
    )
    parser.add_argument("davis", type=Path)
    parser.add_argument("badja", type=Path)
    parser.add_argument("videos", type=Path)
    parser.add_argument("flows", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, default=Path("runs/pixels"))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--on", choices=["validation", "test"], default="test")
    parser.add_argument("--words", nargs=argparse.REMAINDER, default=[])
    words = parser.parse_args()
    data = folders(words.davis, words.badja, words.videos, words.work)
    reader = PixelReader()
    own = partial(trained, train=data["train"], work=words.work, words=words.words)
    about = {"seeds": words.seeds, "words": words.words}
    if words.part == "train":
        for seed in words.seeds:
            for name in words.variants:
                own(name, seed)
        return
    if words.part == "flows":
        probe = reader.judge(reader.footage(str(words.flows)))
        run = own(words.variants[0], words.seeds[0])
        kept("flows", judged(probe, features(run) | reader.baselines(), ["pairs"]), about)
        return
    probe = reader.judge(reader.footage(str(data[words.on])))
    if words.part == "gaps":
        embeds = features(own(words.variants[0], words.seeds[0]))
        still = {"raw patches": (reader.baselines()["raw patches"], False)}
        kinds = {"learned": (embeds["learned"], False), "chained flow": (None, True)}
        made = by_gap(
            probe, {**kinds, "learned, fused with flow": (embeds["learned"], True), **still}
        )
        kept("gaps", made, about)
        return
    if words.part == "colour":
        run = own(words.variants[0], words.seeds[0])
        kept("colour", recoloured(probe, features(run) | reader.baselines()), about)
        return
    if words.part == "ablation":
        rows: dict[str, Any] = {}
        for name in words.variants:
            for seed in words.seeds:
                learned = {"learned": features(own(name, seed))["learned"]}
                scores = judged(probe, learned, ["masked", "tracked"])
                for kind in ("learned", "learned, fused with flow"):
                    fused = "" if kind == "learned" else ", fused"
                    rows.setdefault(name + fused, []).append(scores[kind])
        kept(f"ablation_{words.on}", rows, about)
        return
    part = {"points": "tracked", "masks": "masked"}[words.part]
    run = own(words.variants[0], words.seeds[0])
    made = judged(probe, features(run) | reader.baselines(), [part])
    kept(f"{words.part}_{words.on}", made, about)


if __name__ == "__main__":
    main()
