"""Several objectives in one training: their gradients, what is watched, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchjd import aggregation, autojac

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.experiment import Auxiliary, Train
from nearfar.model import Model
from nearfar.pairs import Batch, PicturePairs
from nearfar.probes import Labelled
from nearfar.recipes import build, find
from nearfar.recipes._label_objective import LabelObjective, label_objective
from nearfar.train import Outcome, Run, fit
from nearfar.train._objectives import Objectives
from nearfar.train._together import finite, length

Capture = pytest.CaptureFixture[str]
BOTH = ["--objective", "info_nce+cross_entropy", "--labels-fraction", "0.3"]


class TwoLosses(nn.Module):
    """A shared layer and two heads; the losses conflict by construction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Linear(4, 3)
        self.first, self.second = nn.Linear(3, 1), nn.Linear(3, 1)

    def losses(self) -> list[Tensor]:
        x = torch.ones(2, 4)
        vectors = self.shared(x)
        one = self.first(vectors).square().mean() + 3 * vectors[:, :2].sum()
        return [one, self.second(vectors).square().mean() - vectors[:, 1:].sum()]


@pytest.mark.parametrize(
    ("name", "aggregator"),
    [
        ("upgrad", aggregation.UPGrad()),
        ("pcgrad", aggregation.PCGrad()),
        ("mgda", aggregation.MGDA()),
        ("cagrad", aggregation.CAGrad(c=0.5)),
        ("alignedmtl", aggregation.AlignedMTL()),
    ],
)
def test_an_aggregator_is_torchjd_s(name: str, aggregator: aggregation.Aggregator) -> None:
    ours, its = TwoLosses(), TwoLosses()
    torch.manual_seed(1)
    Objectives(ours, name, Tensor.backward)(ours.losses())  # type: ignore[arg-type]
    torch.manual_seed(1)
    first, second = its.losses()
    heads = [*its.first.parameters(), *its.second.parameters()]
    for head, grad in zip(
        heads, torch.autograd.grad(first + second, heads, retain_graph=True), strict=True
    ):
        head.grad = grad
    shared = list(its.shared.parameters())
    autojac.backward([first, second], inputs=shared)
    autojac.jac_to_grad(shared, aggregator)
    for a, b in zip(ours.parameters(), its.parameters(), strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b.grad)


def test_a_sum_is_one_backward_pass() -> None:
    ours, its = TwoLosses(), TwoLosses()
    Objectives(ours, "sum", Tensor.backward)(ours.losses())
    sum(its.losses(), torch.zeros(())).backward()
    for a, b in zip(ours.parameters(), its.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_upgrad_hurts_neither_where_the_sum_does() -> None:
    found = {}
    for name in ("sum", "upgrad"):
        net = TwoLosses()
        losses, weights = net.losses(), list(net.shared.parameters())
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(x, weights, retain_graph=True)])
            for x in losses
        ]
        Objectives(net, name, Tensor.backward)(losses)  # type: ignore[arg-type]
        step = torch.cat([p.grad.flatten() for p in weights if p.grad is not None])
        found[name] = min(float(row @ step) for row in rows)
    assert found["sum"] < -0.01
    assert found["upgrad"] > -1e-6


def train(shapes: Path, out: Path, *flags: str) -> int:
    every = ["--steps=40", "--batch-size=32", "--size=16", "--precision=32-true", "--crop=0.6"]
    return main(["train", "images", str(shapes), "--out", str(out), *every, *flags])


@pytest.mark.parametrize("aggregator", ["sum", "upgrad"])
def test_labels_beside_the_game(shapes: Path, tmp_path: Path, aggregator: str) -> None:
    assert train(shapes, tmp_path / "run", *BOTH, "--aggregator", aggregator) == 0
    run = Run(tmp_path / "run")
    lines = run.lines()
    assert lines[-1]["loss_cross_entropy"] < lines[0]["loss_cross_entropy"]
    assert lines[-1]["info_nce"] < lines[0]["info_nce"]
    accords = run.accords()
    assert [line["step"] for line in accords] == [1, 20, 40]
    assert accords[0]["floors"].keys() == {"contrastive", "cross_entropy"}
    assert all(-1 <= line["cosine"] <= 1 and line["ratio"] > 0 for line in accords)
    # The head belongs to the contrastive objective alone, the classifier to the other.
    assert all(name.startswith("encoder") for name in accords[0]["layers"])
    page = run.report.read_text()
    assert "Harmony of the objectives" in page
    assert "Who is louder, layer by layer" in page
    assert "From 30 labels of 3 classes it names" in page
    # What is handed over is the encoder: no classifier.
    assert "classifier" not in json.dumps(json.loads((run.model / "config.json").read_text()))


class KilledError(Exception):
    """What ends a run at any step."""


def learn(shapes: Path, run: Run, kill_at: int | None) -> None:
    settings = {"path": str(shapes), "size": 16, "objective": "info_nce+cross_entropy"}
    experiment = build(find("images"), settings, 0)
    draw, steps = experiment.pairs.draw, iter(range(1000))

    def draw_or_die(rows: Tensor, device: torch.device) -> Batch:
        if next(steps) == kill_at:
            raise KilledError
        return draw(rows, device)

    experiment.pairs.draw = draw_or_die  # type: ignore[method-assign]
    how = Train(steps=25, batch_size=16, precision="32-true", checkpoint_seconds=0.0)
    fit(experiment, how, run)
    experiment.model.save(run.model)


def test_a_run_with_two_objectives_resumes_bit_for_bit(shapes: Path, tmp_path: Path) -> None:
    whole, pieces = Run(tmp_path / "whole"), Run(tmp_path / "pieces")
    learn(shapes, whole, None)
    with pytest.raises(KilledError):
        learn(shapes, pieces, 22)
    learn(shapes, pieces, None)
    one, other = (load_file(run.model / "model.safetensors") for run in (whole, pieces))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert whole.accords() == pieces.accords()


class Astray(Auxiliary):
    """No number once, where it is told to be."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.calls = 0 if step is None else -step - 1  # the first step plays twice

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        self.calls += 1
        return vectors.sum() * (0.0 if self.calls else float("nan"))


@pytest.mark.parametrize(("seconds", "steps", "kept"), [(0.0, 6, 3), (60.0, 4, 0)])
def test_weights_that_are_no_numbers_are_not_kept(
    tmp_path: Path, seconds: float, steps: int, kept: int
) -> None:
    def go(astray: int | None) -> Outcome:
        experiment = build(find("gan"), {"path": "ring", "width": 8, "opponent": False}, 0)
        more = {**experiment.auxiliaries, "astray": Astray(astray)}
        how = Train(steps=steps, precision="32-true", checkpoint_seconds=seconds)
        return fit(replace(experiment, auxiliaries=more), how, run)

    run = Run(tmp_path / "run")
    run.begin({"recipe": "gan"}, fresh=False)
    with pytest.raises(NearfarError, match="The loss_astray is nan at step 4"):
        go(4)
    assert go(None).resumed == kept


@pytest.mark.parametrize("spoilt", ["learner", "rival"])
def test_a_parameter_that_is_no_number_is_noticed(spoilt: str) -> None:
    players = {"learner": nn.Linear(2, 2), "rival": nn.Linear(2, 2)}
    assert math.isfinite(length(players.values()))
    nn.init.constant_(players[spoilt].bias, float("nan"))
    with pytest.raises(NearfarError, match="The length of all weights is nan at step 7"):
        finite({"loss": 1.0, "length of all weights": length(players.values())}, 7)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--aggregator", "upgrad"], "combines several objectives, and there is one"),
        ([*BOTH, "--cache-chunk", "8"], "do not go together: it needs the whole batch's graph"),
        (
            [*BOTH[:2], "--labels-fraction", "0"],
            "labels_fraction=0.0: wanted 0 < labels_fraction <= 1",
        ),
    ],
)
def test_settings_that_do_not_fit(
    shapes: Path, tmp_path: Path, capsys: Capture, flags: list[str], said: str
) -> None:
    assert train(shapes, tmp_path / "run", *flags) == 1
    assert said in capsys.readouterr().err


def test_labels_may_come_after_the_game(shapes: Path, trained: Path, tmp_path: Path) -> None:
    assert train(shapes, tmp_path / "run", *BOTH, "--encoder", str(trained)) == 0
    before = load_file(Run(trained).model / "model.safetensors")
    began = load_file(Run(tmp_path / "run").untrained)
    assert all(torch.equal(before[name], began[name]) for name in before)


def test_labels_are_as_many_of_each_class_and_never_held_out_ones() -> None:
    labels = ["a"] * 40 + ["b"] * 10
    known = [row % 2 == 0 for row in range(50)]
    found = label_objective(4, torch.arange(50), labels, known, 0.2, 1.0)
    rows = (found.targets >= 0).nonzero().flatten().tolist()
    assert [labels[row] for row in rows] == ["a"] * 4 + ["b"]
    assert all(known[row] for row in rows)


@pytest.mark.parametrize("weight", [0.5, 0.0])
def test_the_only_objective_has_no_weight(weight: float) -> None:
    several = build(find("gan"), {"path": "ring", "width": 8, "opponent": False}, 0)
    assert replace(several, contrastive_weight=weight).auxiliaries
    with pytest.raises(NearfarError, match="weighs one of several objectives, and there is one"):
        replace(several, contrastive_weight=weight, auxiliaries={})


def test_a_held_out_picture_is_not_learned_from_its_copy(shapes: Path, tmp_path: Path) -> None:
    for file in sorted(shapes.rglob("*.png")):
        for name in ("one", "copy"):
            place = tmp_path / file.parent.name / f"{name}_{file.name}"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(file.read_bytes())
    settings = {"path": str(tmp_path), "objective": "cross_entropy", "labels_fraction": 1.0}
    experiment = build(find("images"), settings, 0)
    learned = experiment.auxiliaries["cross_entropy"]
    assert isinstance(learned, LabelObjective)
    assert isinstance(experiment.probe, Labelled)
    assert isinstance(experiment.pairs, PicturePairs)
    held = {str(file) for file in experiment.probe.queries}
    rows = [row for row, file in enumerate(experiment.inputs) if str(file) in held]
    assert len(rows) == 24
    assert (learned.targets[experiment.pairs.ids[rows]] == -1).all()
    assert (learned.targets >= 0).sum() == 48


def test_labels_are_needed() -> None:
    with pytest.raises(NearfarError, match="learns from labels, and there are 0 of them"):
        label_objective(4, torch.arange(5), None, [True] * 5, 0.5, 1.0)
