"""A run killed at any moment ends in the weights of the uninterrupted one, bit for bit."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.experiment import Train
from nearfar.files import replace_bytes
from nearfar.train import Run
from nearfar.train._stop import StopSignal

STEPS = 40


def words(shapes: Path, out: Path) -> list[str]:
    flags = ["--steps", str(STEPS), "--batch_size", "16", "--checkpoint_seconds", "0.2"]
    return ["train", "images", str(shapes), "--size", "16", "--out", str(out), *flags]


def start(shapes: Path, out: Path, *flags: str, **more: object) -> subprocess.Popen[str]:
    # The same number of threads everywhere: sums in another order differ in the last bit.
    return subprocess.Popen(
        [sys.executable, "-m", "nearfar", *words(shapes, out), *flags],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,  # type: ignore[call-overload]
    )


def wait_for_step(process: subprocess.Popen[str], out: Path, step: int) -> None:
    for _ in range(600):
        lines = Run(out).lines()
        if (lines and lines[-1]["step"] >= step) or process.poll() is not None:
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    process = start(shapes, out)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out


def assert_same(a: Path, b: Path) -> None:
    one, two = (load_file(out / "model" / "model.safetensors") for out in (a, b))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    first, second = Run(a).lines(), Run(b).lines()
    assert [line["step"] for line in first] == [line["step"] for line in second]
    assert [line["loss"] for line in first] == [line["loss"] for line in second]


def kill_9_and_again(shapes: Path, out: Path, *flags: str) -> None:
    process = start(shapes, out, *flags)
    wait_for_step(process, out, 12)
    time.sleep(random.uniform(0, 0.4))
    process.kill()
    process.communicate()
    assert not Run(out).model.exists(), "the kill came too late to show anything"
    process = start(shapes, out, *flags)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def test_kill_9_and_again(shapes: Path, whole: Path, tmp_path: Path) -> None:
    kill_9_and_again(shapes, tmp_path / "run")
    assert_same(whole, tmp_path / "run")


def test_a_bank_is_in_the_checkpoint(shapes: Path, tmp_path: Path) -> None:
    flags = ("--bank", "100", "--momentum", "0.9", "--cache-chunk", "8")
    process = start(shapes, tmp_path / "whole", *flags)
    kill_9_and_again(shapes, tmp_path / "run", *flags)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same(tmp_path / "whole", tmp_path / "run")


def test_ctrl_c_saves_and_says_how_to_go_on(shapes: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(shapes, out)
    wait_for_step(process, out, 12)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "The same command goes on from there" in said
    assert (out / "report.html").is_file()
    process = start(shapes, out)
    process.communicate(timeout=300)
    assert_same(whole, out)


def test_a_full_disk_leaves_the_last_good_checkpoint(
    shapes: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    size = (whole / "checkpoints" / "last.ckpt").stat().st_size

    def small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    process = start(shapes, out, preexec_fn=small_disk)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "could not be written" in errors
    assert "Free some space and give the same command again" in errors
    assert not (out / "checkpoints" / "last.ckpt.part").exists()
    process = start(shapes, out)
    process.communicate(timeout=300)
    assert_same(whole, out)


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    replace_bytes(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        replace_bytes(tmp_path / "file", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_changed_settings_are_named(
    shapes: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole / "config.yaml").read_text()
    assert main([*words(shapes, whole), "--temperature", "0.5", "--lr", "0.1"]) == 1
    said = capsys.readouterr().err
    assert "temperature: 0.2 then, 0.5 now" in said
    assert "lr: the default then, 0.1 now" in said
    assert "--fresh" in said
    assert (whole / "config.yaml").read_text() == before


def test_other_recipe_other_files_and_fresh(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(NearfarError, match="is of the recipe 'images', not 'digits'"):
        Run(whole).begin({"recipe": "digits"}, fresh=False)
    for mine in ("letter.txt", "config.yaml"):
        (tmp_path / mine).write_text("database: mine")
        for fresh in (True, False):
            with pytest.raises(NearfarError, match="holds files but no run"):
                Run(tmp_path).begin({"recipe": "digits"}, fresh=fresh)
        assert (tmp_path / mine).read_text() == "database: mine"
    run = Run(tmp_path / "new")
    run.begin({"recipe": "a", "seed": 1}, fresh=False)
    run.begin({"recipe": "b", "seed": 2}, fresh=True)
    assert run.settings() == {"recipe": "b", "seed": 2}


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_fresh_loses_nothing_before_there_is_something_new(
    shapes: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    before = contents(tmp_path)
    fresh = [*words(shapes, out), "--fresh", "--json"]

    def fail(loss: float, step: int) -> None:
        raise NearfarError("it fails in its first step")

    with monkeypatch.context() as patch:
        patch.setattr("nearfar.train._loop.finite", fail)
        assert main(fresh) == 1
    assert contents(tmp_path) == before
    always = property(lambda stop: True, lambda stop, value: None)
    with monkeypatch.context() as patch:
        patch.setattr(StopSignal, "asked", always, raising=False)
        assert main(fresh) == 130
    assert contents(tmp_path) == before
    capsys.readouterr()
    assert main([*fresh, "--steps", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["step"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_fresh_killed_before_there_is_something_new(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    old, new = {"recipe": "a", "seed": 1}, {"recipe": "b", "seed": 2}

    def learn() -> None:
        replace_bytes(run.checkpoint, b"")
        run.metrics.write_text('{"step": 1}\n')

    with run.begin(old, fresh=False):
        learn()
    run.begin(new, fresh=True)  # and is killed
    assert not run.checkpoint.exists()
    with run.begin(old, fresh=False):
        assert run.checkpoint.exists()
    with run.begin(new, fresh=True):
        learn()
        run.settle()
        assert [file.name for file in tmp_path.iterdir()] == ["run"]
    assert run.settings() == new


def test_a_start_that_failed_binds_nobody(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.begin({"recipe": "a", "seed": 1}, fresh=False)
    run.begin({"recipe": "b", "seed": 2}, fresh=False)
    assert run.settings() == {"recipe": "b", "seed": 2}
    run.model.mkdir()
    with pytest.raises(NearfarError, match="seed: 2 then, 3 now"):
        run.begin({"recipe": "b", "seed": 3}, fresh=False)


def test_changed_data_are_noticed(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(shapes, data)
    flags = ["train", "images", str(data), "--out", str(out), "--steps", "2", "--batch_size", "8"]
    assert main(flags) == 0
    next(data.rglob("*.png")).unlink()
    assert main(flags) == 1
    assert "The data are not those that this run began with" in capsys.readouterr().err


def test_a_cut_off_line_of_metrics_is_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.metrics.write_text('{"step": 1}\n{"step": 20}\n{"step": 4')
    run.rewind(1)
    assert [json.loads(line) for line in run.metrics.read_text().splitlines()] == [{"step": 1}]


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"batch_size": -1}, {"warmup": 1.0}, {"lr": 0.0}]
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(NearfarError, match=next(iter(settings))):
        Train(**settings)  # type: ignore[arg-type]
