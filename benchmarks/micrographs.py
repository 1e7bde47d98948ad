"""Grain retrieval, leave one map out: learned beside everything that needs no training.

    python benchmarks/micrographs.py MAPS --out benchmarks/results/micrographs.json

MAPS is a folder of .npz maps with arrays `grain` and those named by --channels. For every channel,
seed and map, `nearfar train micrographs` learns from the other maps; the grains of the map that was
left out are then sought, turned and shifted, among those of all maps.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

import nearfar
import nearfar.model
from nearfar.cli import main
from nearfar.files import replace_text
from nearfar.pairs import seeded
from nearfar.pairs.micrographs import MicrographReader, TurnedPairs, Window
from nearfar.probes._retrieval import Retrieval, hits, unit
from nearfar.recipes._micrograph_exhibits import cosine_at
from nearfar.recipes.micrographs import micrographs

ANGLES = [float(angle) for angle in range(15, 360, 15)]


def one(maps: Path, held: Path, channel: str, seed: int, flags: list[str], runs: Path) -> dict:
    """One training: the table of the map that was left out, and its cosines against the angle."""
    run = runs / f"{channel}-{held.stem}-{seed}-{'-'.join(flags).replace('--', '') or 'rings'}"
    words = ["--channel", channel, "--hold_out", held.stem, "--seed", str(seed), *flags]
    if not (run / "report.html").is_file():
        assert main(["train", "micrographs", str(maps), "--out", str(run), *words]) == 0
    scores = json.loads((run / "scores.json").read_text())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    model = nearfar.load(run)
    reader = model.reader
    assert isinstance(reader, MicrographReader)
    windows = list(reader.find(str(held)).items)
    same, other = cosine_at(model, windows, ANGLES)
    right = [number for number, angle in enumerate(ANGLES) if angle % 90 == 0]
    return {
        "map": held.stem,
        "grains": len(windows),
        "seconds": lines[-1]["seconds"],
        "rows": scores["rows"],
        "discriminant": discriminant(maps, held, channel),
        "handed": handed(model, windows),
        "cosine": {
            "same_mean": float(same.mean()),
            "same_p5": float(np.percentile(same, 5)),
            "same_min": float(same.min()),
            "right_angles_min": float(same[right].min()),
            "different_mean": float(other.mean()),
            "different_p95": float(np.percentile(other, 95)),
            "by_angle": {
                str(int(angle)): [float(s.mean()), float(np.percentile(s, 5)), float(o.mean())]
                for angle, s, o in zip(ANGLES, same, other, strict=True)
            },
        },
    }


def handed(model: nearfar.model.Model, windows: list[Window]) -> float:
    """Share of turned, shifted grains that are nearer to themselves than to their mirror image."""
    reader = model.reader
    assert isinstance(reader, MicrographReader)
    rng = np.random.default_rng(1)
    asked = [reader.turned(window, rng.uniform(0, 360), rng) for window in windows]
    vectors = [model.embed(asked), model.embed(windows)]
    with torch.no_grad():
        mirror = model.encoder(reader.prepare(reader.read(windows).flip(-1))).numpy()
    mirror /= np.linalg.norm(mirror, axis=1, keepdims=True)
    return float(((vectors[0] * vectors[1]).sum(1) > (vectors[0] * mirror).sum(1) + 1e-6).mean())


def discriminant(maps: Path, held: Path, channel: str, views: int = 8) -> float:
    """R@1 of a linear discriminant to 64 numbers, in closed form, from views of the other maps.

    Each grain is a class and its turned, shifted views are the members (Fisher 1936). It is given
    the same `ring_invariants` as the encoder, and nothing is learned by steps.
    """
    experiment = micrographs(str(maps), channel=channel, hold_out=held.stem, wander=0.0)
    pairs, probe = experiment.pairs, experiment.probe
    assert isinstance(pairs, TurnedPairs)
    assert isinstance(probe, Retrieval)
    x = []
    for step in range(views // 2):
        with seeded(0, step):
            batch = pairs.draw(torch.arange(len(pairs)), torch.device("cpu"))
        x += [batch.query, batch.key]
    table = torch.stack(x)
    means = table.mean(0)
    inside = (table - means).flatten(0, 1)
    inside = inside.T @ inside / len(inside)
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / len(means)
    # The share of the mean variance that is added keeps the smallest directions from ruling.
    values, vectors = torch.linalg.eigh(
        inside + 1e-3 * inside.diag().mean() * torch.eye(len(inside))
    )
    whiten = vectors * values.rsqrt()
    project = whiten @ torch.linalg.eigh(whiten.T @ between @ whiten)[1][:, -64:]
    reader = experiment.model.reader
    gallery, queries = (
        unit(((reader.prepare(reader.read(items)) - means.mean(0)) @ project).numpy())
        for items in (probe.gallery, probe.queries)
    )
    ids = np.asarray(probe.ids)
    return hits(queries @ gallery.T, ids[np.asarray(probe.targets)][:, None] == ids[None], 1)


def over_maps(results: list[dict]) -> dict[str, dict[str, float]]:
    """Means over the grains of all maps, each judged by the model that never saw its map."""
    weight = np.array([result["grains"] for result in results], float)
    weight /= weight.sum()
    rows = results[0]["rows"]
    table = {
        name: {
            key: float(weight @ [result["rows"][name][key] for result in results])
            for key in rows[name]
        }
        for name in rows
    }
    table["learned"]["handed"] = float(weight @ [result["handed"] for result in results])
    table["linear discriminant"] = {
        "top1": float(weight @ [result["discriminant"] for result in results])
    }
    for key in ("same_mean", "same_p5", "different_mean", "different_p95"):
        table["learned"][key] = float(weight @ [result["cosine"][key] for result in results])
    return table


def run() -> None:
    """Train, collect, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maps", type=Path)
    parser.add_argument("--channels", nargs="+", default=["quality", "shape", "ipf_z"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--flags", default="", help="further flags of nearfar train")
    parser.add_argument("--runs", type=Path, default=None, help="keep the runs here")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/micrographs.json"))
    words = parser.parse_args()
    torch.set_num_threads(1)
    runs = words.runs or Path(tempfile.mkdtemp())
    flags = words.flags.split()
    held = sorted(words.maps.glob("*.npz"))
    kept = json.loads(words.out.read_text()) if words.out.is_file() else {}
    for channel in words.channels:
        tables = []
        for seed in words.seeds:
            results = [one(words.maps, each, channel, seed, flags, runs) for each in held]
            tables.append({"seed": seed, "table": over_maps(results), "maps": results})
        name = " ".join([channel, *flags])
        kept[name] = {"summary": summary([t["table"] for t in tables]), "seeds": tables}
        print(name)
        for row, values in kept[name]["summary"].items():
            text = "  ".join(f"{key} {mean:.3f}±{sd:.3f}" for key, (mean, sd) in values.items())
            print(f"  {row:<26}{text}", flush=True)
        replace_text(words.out, json.dumps(kept, indent=1) + "\n")


def summary(tables: list[dict]) -> dict[str, dict[str, tuple[float, float]]]:
    """Mean and deviation over seeds."""
    return {
        row: {
            key: (
                float(np.mean([table[row][key] for table in tables])),
                float(np.std([table[row][key] for table in tables], ddof=min(1, len(tables) - 1))),
            )
            for key in tables[0][row]
        }
        for row in tables[0]
    }


if __name__ == "__main__":
    run()
