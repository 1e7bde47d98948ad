"""Files that are damaged or cannot be written: one line says so, and how to mend it."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.files import replacing
from nearfar.train import Run

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A finished run that may be spoilt."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def error_of(words: list[str], capsys: Capture) -> str:
    capsys.readouterr()
    assert main(words) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    return said


def test_places_that_cannot_be_written(
    trained: Path, shapes: Path, tmp_path: Path, capsys: Capture
) -> None:
    file, folder = tmp_path / "v.npz", tmp_path / "v.parquet"
    file.write_bytes(b"mine")
    folder.mkdir()
    for flags in ([], ["--fresh"]):
        train = ["train", "images", str(shapes), "--steps", "1", *flags, "--out"]
        assert f"out='{file}' is a file. Wanted a folder" in error_of([*train, str(file)], capsys)
        said = error_of([*train, str(file / "x")], capsys)
        assert "config.yaml' cannot be written: Not a directory. Wanted a folder that you" in said
    embed = ["embed", str(trained), str(shapes), "--out"]
    assert f"'{folder}' is a folder" in error_of([*embed, str(folder)], capsys)
    assert "cannot be written: File exists" in error_of([*embed, f"{file}/a.npz"], capsys)
    assert file.read_bytes() == b"mine"


def test_a_folder_is_not_written_over(tmp_path: Path) -> None:
    """Known before anything is done."""
    with pytest.raises(NearfarError, match="is a folder; wanted a file"), replacing(tmp_path):
        pytest.fail("work was begun")


def test_what_is_read_while_writing_is_not_blamed_on_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out"):
        (tmp_path / "in").read_bytes()
    with pytest.raises(OSError, match="no picture"), replacing(tmp_path / "out"):
        raise OSError("no picture")
    with pytest.raises(NearfarError, match="No space left"), replacing(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_any_other_trouble_with_files_is_one_line(
    trained: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> None:
        raise PermissionError(13, "Permission denied", str(run.config))

    monkeypatch.setattr(Run, "settings", refuse)
    said = error_of(["report", str(trained)], capsys)
    assert said == f"nearfar report: [Errno 13] Permission denied: '{trained / 'config.yaml'}'\n"


@pytest.mark.parametrize("content", ["", "recipe: images\nseed", "[1]"])
def test_damaged_settings(copy: Path, shapes: Path, content: str, capsys: Capture) -> None:
    (copy / "config.yaml").write_text(content)
    train = ["train", "images", str(shapes), "--out", str(copy)]
    for words in (train, ["report", str(copy)], ["search", str(copy), "x"], ["audit", str(copy)]):
        said = error_of(words, capsys)
        assert "config.yaml' is damaged (" in said
        assert "Bring back a whole copy of it, or start over with --fresh." in said
    (copy / "config.yaml").write_text("recipe: images\n")
    assert "config.yaml' is damaged (it is cut off)" in error_of(["audit", str(copy)], capsys)


def test_lost_settings(copy: Path, shapes: Path, capsys: Capture) -> None:
    (copy / "config.yaml").unlink()
    train = ["train", "images", str(shapes), "--out", str(copy), "--steps", "1"]
    said = error_of(train, capsys)
    assert "holds files but no run of nearfar's (no config.yaml of one)" in said
    assert "--fresh starts over in this one" in said
    assert main([*train, "--fresh"]) == 0
    assert Run(copy).settings()["steps"] == 1


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_damaged_checkpoint(copy: Path, length: int, capsys: Capture) -> None:
    checkpoint = Run(copy).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:length])
    train = ["train", "images", "--config", str(copy / "config.yaml"), "--out", str(copy)]
    for words in (train, ["audit", str(copy)]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert "last.ckpt' is damaged (" in said
        assert "start over with --fresh" in said


@pytest.mark.parametrize("name", ["snapshot.npz", "scores.json", "exhibits.json"])
def test_damaged_parts_of_the_report(copy: Path, name: str, capsys: Capture) -> None:
    (copy / name).write_bytes((copy / name).read_bytes()[:10])
    said = error_of(["report", str(copy)], capsys)
    assert f"{name}' is damaged (" in said
    assert "Give its `nearfar train` command again" in said


def test_lost_metrics_and_a_machine_that_asks(copy: Path, capsys: Capture) -> None:
    (copy / "metrics.jsonl").unlink()
    config = str(copy / "config.yaml")
    assert main(["train", "images", "--config", config, "--out", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] is None


def test_letters_that_the_output_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["list"]) == 0
    output.write("τ 0.2")
    output.flush()
    assert output.buffer.getvalue().endswith(b"? 0.2")  # type: ignore[attr-defined]
