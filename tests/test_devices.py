"""A batch shared by two processes learns what one process learns, and is as hard to interrupt."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import nn

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.cli.audit import _note
from nearfar.encoders import BatchNormOverRanks
from nearfar.experiment import Train
from nearfar.pairs import seeded
from nearfar.recipes import build, find
from nearfar.train import Run, SharedError, fit, leads
from nearfar.train._objectives import Objectives

RECIPE = '''"""Points of which each has two fixed views: nothing is random but the first weights."""

import time

import torch
from torch import nn

from nearfar.encoders import Encoder
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Model
from nearfar.pairs import Batch, Reader
from nearfar.recipes._label_objective import LabelObjective


class Points:
    def __init__(self, x, weigh, pause):
        self.x, self.weigh, self.pause, self.fingerprint = x, weigh, pause, str(len(x))

    def __len__(self):
        return len(self.x)

    def draw(self, rows, device):
        time.sleep(self.pause)
        weight = torch.eye(len(rows)).to_sparse() if self.weigh else None
        return Batch(self.x[rows], self.x[rows].flip(1), rows, weight)

    def names(self, rows):
        return [str(row) for row in rows.tolist()]


class Narrow(Encoder):
    def __init__(self, norm):
        super().__init__()
        self.settings, self.dim = {"norm": norm}, 8
        second = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.body = nn.Sequential(nn.Linear(6, 16), second, nn.ReLU(), nn.Linear(16, 8))
        self.idle = nn.Linear(2, 2)

    def forward(self, x):
        return self.body(x)


class Plain(Reader):
    settings = {}

    def read(self, inputs):
        return torch.stack(list(inputs))

    def prepare(self, batch):
        return batch

    def find(self, path):
        raise NotImplementedError

    def baselines(self):
        return {}


def points(
    norm: bool = True,
    weigh: bool = False,
    items: int = 50,
    pause: float = 0.0,
    labels: bool = False,
):
    """Points."""
    x = torch.randn(items, 6, generator=torch.Generator().manual_seed(0))
    tau, auxiliaries = Temperature(0.2, learnable=True), {}
    if labels:
        auxiliaries["labels"] = LabelObjective(8, "abc", torch.arange(items) % 4 - 1, 0.5)
    return Experiment(
        model=Model(Plain(), Narrow(norm)),
        pairs=Points(x, weigh, pause),
        objective=NTXentLoss(tau),
        temperature=tau,
        auxiliaries=auxiliaries,
        inputs=list(x),
    )
'''
STEPS = 80
HOW: dict[str, Any] = {"accelerator": "cpu", "precision": "32-true", "optimizer": "sgd"}
HOW |= {"lr": 0.05, "batch_size": 17, "steps": 25}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "uneven": ({}, {}),
    "bank": ({}, {"bank": 40, "momentum": 0.9}),
    "chunks": ({"norm": False}, {"batch_size": 16, "cache_chunk": 4}),
    "labels": ({"labels": True}, {}),
    "labels by upgrad": ({"labels": True}, {"aggregator": "upgrad"}),
    "bank in chunks": (
        {"norm": False},
        {"batch_size": 16, "cache_chunk": 4, "bank": 40, "momentum": 0.9},
    ),
}


def learned(recipe: Path, out: Path, devices: int, case: str) -> dict[str, Any]:
    settings, how = CASES[case]
    experiment = build(find(str(recipe)), settings, 0)
    run = Run(out / case)
    assert fit(experiment, Train(**(HOW | how), devices=devices), run).finished
    return {
        "weights": experiment.model.state_dict(),
        "temperature": experiment.temperature().item(),
        "norms": [type(m).__name__ for m in experiment.model.modules() if "Norm" in str(type(m))],
        "lines": run.lines(),
    }


def rank(number: int, port: int, recipe: Path, out: Path) -> None:
    """What Fabric's launcher and nearfar's command line do, for many trainings in one process."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(number), "MASTER_PORT": str(port), "MASTER_ADDR": "127.0.0.1"}
    found = {case: learned(recipe, out, 2, case) for case in CASES}
    torch.save(found, out / f"{number}.pt")
    long = build(find(str(recipe)), {}, 0)
    fit(long, Train(**(HOW | {"steps": STEPS}), devices=2), Run(out / "long"))
    torch.save(long.model.state_dict(), out / f"long-{number}.pt")
    torch.save(by_lot(number), out / f"lot-{number}.pt")
    for settings, message in (
        ({"items": 50 - number}, "data are not those that this run began with"),
        ({"weigh": True}, "devices=2: these pairs say who is whose partner"),
    ):
        experiment = build(find(str(recipe)), settings, 0)
        with pytest.raises(SharedError, match=message):
            fit(experiment, Train(**HOW, devices=2), Run(out / message[:4]))


def by_lot(number: int) -> torch.Tensor:
    """Gradients of three objectives by an aggregator that looks at them in a random order."""
    layer = nn.Linear(3, 2)
    nn.init.ones_(layer.weight)
    far = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(number))
    found = []
    for step, target in enumerate(far):
        with seeded(0, step, number):
            losses = [(layer(torch.eye(3)) * row).sum() for row in target]
            Objectives(layer, "pcgrad", torch.Tensor.backward)(losses)
        assert layer.weight.grad is not None
        found.append(layer.weight.grad.clone())
    return torch.stack(found)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "points.py"
    file.write_text(RECIPE)
    return file


@pytest.fixture(scope="module")
def two(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folders of two processes, and what each of them found."""
    out = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(rank, (port, recipe, out), nprocs=2)
    return out


@pytest.mark.parametrize("case", CASES)
def test_two_devices_learn_what_one_learns(
    recipe: Path, two: Path, tmp_path: Path, case: str
) -> None:
    one = learned(recipe, tmp_path, 1, case)
    first, second = (torch.load(two / f"{number}.pt")[case] for number in range(2))
    for name, value in one["weights"].items():
        if "idle" in name and "chunk" in case:
            continue  # GradCache on several devices gives it a gradient of zero, and it decays.
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-5, atol=1e-5)
        if "running" not in name:
            assert torch.equal(first["weights"][name], second["weights"][name])
    assert first["temperature"] == pytest.approx(one["temperature"], rel=1e-5)
    assert one["temperature"] != pytest.approx(0.2, abs=1e-4)
    norm = CASES[case][0].get("norm", True)
    assert one["norms"] == ["BatchNorm1d"] * norm
    assert first["norms"] == ["BatchNormOverRanks"] * norm
    # One process alone writes, and of the whole batch.
    assert [line["step"] for line in first["lines"]] == [1, 20, 25]
    for mine, its in zip(first["lines"], one["lines"], strict=True):
        for name in mine.keys() - {"seconds", "pairs_per_s"}:
            assert mine[name] == pytest.approx(its[name], rel=1e-4, abs=1e-4), name
    if "bank" in case:
        banks = [
            torch.load(out / case / "checkpoints" / "last.ckpt", weights_only=True)["memory"]
            for out in (tmp_path, two)
        ]
        entered = 25 * (HOW | CASES[case][1])["batch_size"]
        assert [int(bank["bank._extra_state"]) for bank in banks] == [entered, entered]
        for name in ("bank._keys", "bank._ids"):
            torch.testing.assert_close(banks[1][name], banks[0][name], rtol=1e-4, atol=1e-4)


def test_two_devices_draw_one_lot(two: Path) -> None:
    one, other = (torch.load(two / f"lot-{number}.pt") for number in range(2))
    assert torch.equal(one, other)
    assert one.abs().min() > 0


def launched(recipe: Path, out: Path, *before: str) -> subprocess.Popen[str]:
    flags = ["--norm", "true", "--pause", "0.05", "--out", str(out), "--devices", "2"]
    every = HOW | {"steps": STEPS, "checkpoint_seconds": 0.2}
    flags += [word for name, value in every.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, *before, "-m", "nearfar", "train", str(recipe), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def once(process: subprocess.Popen[str], out: Path, step: int) -> None:
    for _ in range(600):
        lines = Run(out).lines()
        if process.poll() is not None or (lines and lines[-1]["step"] >= step):
            return
        time.sleep(0.05)


def test_two_devices_stop_are_killed_and_go_on(recipe: Path, two: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launched(recipe, out)
    once(process, out, 20)
    process.send_signal(signal.SIGTERM)  # to the first process alone
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert said.count("2 x cpu") == 1
    stopped = re.search(r"Stopped and saved after step (\d+) of 80", said)
    assert stopped
    kept = torch.load(Run(out).checkpoint, weights_only=True)
    assert kept["step"] == int(stopped[1])
    assert len(list(out.glob("events.out.tfevents.*"))) == 1

    process = launched(recipe, out)
    once(process, out, 40)
    process.kill()  # the first process alone; what it started ends by itself
    process.communicate(timeout=120)
    assert Run(out).lines()[-1]["step"] < STEPS, "the kill came too late to show anything"

    process = launched(
        recipe, out, *["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    )
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert [line["step"] for line in Run(out).lines()] == [1, 20, 40, 60, 80]
    whole, model = torch.load(two / "long-0.pt"), out / "model"
    parts = load_file(model / "model.safetensors")
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
    assert "OverRanks" not in (model / "config.json").read_text()
    loaded = nearfar.load(out)
    kinds = [type(m) for m in loaded.modules() if isinstance(m, nn.BatchNorm1d)]
    assert kinds == [nn.BatchNorm1d]
    assert not any(isinstance(m, BatchNormOverRanks) for m in loaded.modules())
    assert loaded.embed(list(torch.eye(6))).shape == (6, 8)


def test_settings_that_do_not_fit(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NearfarError, match="devices=0: wanted 1 or more"):
        Train(devices=0)
    for flags, message in (
        (["--devices=3", "--batch-size=2"], "devices=3 share a batch of 2 items"),
        (["--devices=2", "--batch-size=17", "--cache-chunk=4"], "such as --batch-size 16"),
        (["--devices=2", "--accelerator=cdua"], "accelerator='cdua', devices=2: "),
    ):
        assert main(["train", str(recipe), "--out", str(tmp_path / "run"), *flags]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (Train(), "trained on one device, whose batch norms saw all of the batch"),
        (Train(devices=2), "trained on 2 devices, whose synchronised batch norms saw all of"),
        (
            Train(devices=2, cache_chunk=8),
            "encoded 16 pairs at a time.*--devices 4 --per-device 16",
        ),
        (Train(devices=2, cache_chunk=32), "trained on 2 devices"),
    ],
)
def test_the_audit_knows_what_batch_norms_saw(train: Train, said: str) -> None:
    assert re.search(said, _note(train, 64))


def test_torchrun_starts_as_many_as_there_are_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN_ID": "a", "WORLD_SIZE": 3, "GROUP_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(f"TORCHELASTIC_{name}" if name == "RUN_ID" else name, str(value))
    with pytest.raises(NearfarError, match=r"torchrun started 3 .*--devices 3"):
        leads(Train())
