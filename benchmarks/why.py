"""Every figure and number of docs/why-it-works.md, from a trained run and a sweep.

nearfar train digits --out runs/why
nearfar sweep digits --steps 600 --schedules --out runs/why-sweep
python benchmarks/why.py runs/why runs/why-sweep --out benchmarks/results/why.json
python benchmarks/why.py --plot docs/figures --out benchmarks/results/why.json    # matplotlib
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from machine import describe
from torch import Tensor

QUERIES, VIEWS, CHUNK = 64, 2**20, 4096
COUNTS = [2**power for power in range(4, 21)]
TEMPERATURES = [0.01 * 2 ** (step / 2) for step in range(16)]
READINGS = ("exact", "hinge", "mean_field", "second_order")


def embed(run: Path) -> tuple[Tensor, Tensor, Tensor, float]:
    """Queries, partners, a crowd of views of other items, and the temperature."""
    from nearfar.cli._rebuild import rebuilt
    from nearfar.pairs import seeded
    from nearfar.train import Run

    experiment, _ = rebuilt(Run(run))
    model, items = experiment.model.eval(), len(experiment.pairs)
    with seeded(1), torch.no_grad():
        rows = torch.randperm(items)
        queries, others = rows[:QUERIES], rows[QUERIES:]
        batch = experiment.pairs.draw(queries, torch.device("cpu"))
        query, key = (torch.nn.functional.normalize(model(x)) for x in (batch.query, batch.key))
        crowd = []
        for _ in range(VIEWS // CHUNK):
            chosen = others[torch.randint(len(others), (CHUNK // 2,))]
            drawn = experiment.pairs.draw(chosen, torch.device("cpu"))
            both = torch.cat([drawn.query, drawn.key])
            crowd.append(torch.nn.functional.normalize(model(both)))
    return query, key, torch.cat(crowd), experiment.temperature().item()


def measure(run: Path, sweep: Path) -> dict[str, Any]:
    """The numbers."""
    from nearfar.anatomy import forces, hardest_share, margin, motion, play, read

    query, key, crowd, tau = embed(run)
    similarity, positive = query @ crowd.T, (query * key).sum(1)
    by_count = []
    for count in COUNTS:
        found = margin(read(positive, similarity[:, :count], tau))
        by_count.append(
            {"K": count, "effective": found.effective, "frozen": found.frozen}
            | {name: getattr(found, name) for name in READINGS}
            | {"spread": found.spread, "effective_negatives": found.effective_negatives}
        )
        print(by_count[-1], flush=True)
    some = crowd[:4096]
    by_temperature = []
    for one in TEMPERATURES:
        game = play(query, key, one, negatives=some)
        shares = [
            hardest_share(query, key, one, part, negatives=some).mean().item()
            for part in (0.01, 0.1)
        ]
        by_temperature.append(
            {
                "temperature": one,
                "hardest_1": shares[0],
                "hardest_10": shares[1],
                "effective_negatives": game.effective_negatives.mean().item(),
            }
        )
    seen = forces(query, key, tau, negatives=some)
    moved = {
        kind: motion(2 * query, key, tau, similarity=kind, negatives=some)
        for kind in ("cosine", "dot")
    }
    return {
        "temperature": tau,
        "by_count": by_count,
        "by_temperature": by_temperature,
        "forces": {
            "pull": seen.pull.norm(dim=1).mean().item(),
            "push": seen.push.norm(dim=1).mean().item(),
            "angle": seen.angle.mean().item(),
        },
        "scaling_share": {kind: found.scaling_share.mean().item() for kind, found in moved.items()},
        "sweep": json.loads((sweep / "sweep.json").read_text()),
    }


def plot(found: dict[str, Any], folder: Path) -> None:
    """Three figures."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "nearfar"

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})

    figure, axis = pyplot.subplots(figsize=(6.4, 3.6))
    rows = found["by_count"]
    for name, text, style in (
        ("exact", "loss", "-"),
        ("second_order", r"mean + $\sigma^2/2\tau$", "--"),
        ("mean_field", "mean similarity", "--"),
        ("hinge", "hinge", ":"),
    ):
        axis.plot([row["K"] for row in rows], [row[name] for row in rows], style, label=text)
    axis.set(xscale="log", xlabel="negatives K", ylabel="nats")
    axis.legend()
    save(figure, "why_crowd")

    figure, axis = pyplot.subplots(figsize=(6.4, 3.6))
    rows = found["by_temperature"]
    for name, text in (("hardest_1", "the hardest 1 %"), ("hardest_10", "the hardest 10 %")):
        axis.plot([row["temperature"] for row in rows], [row[name] for row in rows], label=text)
    axis.axvline(found["temperature"], color="grey", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="temperature", ylabel="share of the push", ylim=(0, 1.02))
    axis.legend()
    save(figure, "why_temperature")

    figure, axes = pyplot.subplots(2, figsize=(6.4, 5), sharex=True)
    rows = [row for row in found["sweep"] if row["name"].startswith("tau-")]
    taus = [row["temperature"] for row in rows]
    for name, text in (("knn", "kNN"), ("linear", "linear probe")):
        axes[0].plot(taus, [row[name] for row in rows], "o-", label=text)
    for row in found["sweep"]:
        if row not in rows:
            axes[0].plot(row["ended"], row["knn"], "D", label=f"{row['name']}: kNN")
    axes[0].set(ylabel="accuracy")
    axes[0].legend()
    axes[1].plot(taus, [row["alignment"] for row in rows], "o-", label="alignment")
    axes[1].plot(taus, [-row["uniformity"] for row in rows], "o-", label="minus uniformity")
    axes[1].set(xscale="log", xlabel="temperature")
    axes[1].legend()
    save(figure, "why_sweep")


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("sweep", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="a folder for .svg files; needs matplotlib")
    words = parser.parse_args()
    if words.run:
        found = describe() | measure(words.run, words.sweep)
        words.out.write_text(json.dumps(found, indent=1) + "\n")
    if words.plot:
        plot(json.loads(words.out.read_text()), words.plot)


if __name__ == "__main__":
    main()
