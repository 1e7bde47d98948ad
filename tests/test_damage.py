"""Files that cannot be written: one line says so, and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.files import replacing
from nearfar.train import Run

Capture = pytest.CaptureFixture[str]


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
    assert f"out='{folder}' is a folder" in error_of([*embed, str(folder)], capsys)
    assert "cannot be written: File exists" in error_of([*embed, f"{file}/a.npz"], capsys)
    assert file.read_bytes() == b"mine"


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
