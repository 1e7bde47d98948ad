"""Several temperatures, one comparison."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nearfar.cli import main
from nearfar.report import Trial
from nearfar.report._sweep import verdict

Capture = pytest.CaptureFixture[str]


def trial(name: str, temperature: float, knn: float | None) -> Trial:
    return Trial(
        name=name,
        temperature=temperature,
        ended=temperature,
        scores={} if knn is None else {"kNN": knn},
        alignment=0.3,
        uniformity=-2.0,
        tolerance=0.2,
        hardest_1=0.1,
    )


def test_a_sweep_trains_compares_and_goes_on(shapes: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "sweep"
    flags = ["--out", str(out), "--size", "16", "--steps", "3", "--batch-size", "16"]
    words = ["sweep", "images", str(shapes), "--temperature", "0.5,0.1", "--schedules", *flags]
    assert main(words) == 0
    said = capsys.readouterr().out
    rows = json.loads((out / "sweep.json").read_text())
    assert [row["name"] for row in rows] == ["tau-0.1", "tau-0.5", "cosine", "learned"]
    assert rows[2]["temperature"] == 0.5
    assert 0.1 <= rows[2]["ended"] < 0.5
    assert rows[3]["ended"] != rows[3]["temperature"]
    for row in rows:
        assert (out / row["name"] / "report.html").is_file()
        assert row["name"] in said
        scores = json.loads((out / row["name"] / "scores.json").read_text())
        assert row["scores"]["kNN (k = 5)"] == scores["rows"]["learned"]["knn"]
        assert -1 <= row["tolerance"] <= 1
    page = (out / "sweep.html").read_text()
    assert "By kNN (k = 5), temperature" in page
    before = (out / "tau-0.1" / "metrics.jsonl").read_bytes()
    assert main(words) == 0
    assert (out / "tau-0.1" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["images", "x", "--temperature", "0.1"], "wanted two or more positive numbers"),
        (["images", "x", "--temperature=0.1,warm"], "wanted numbers with commas"),
        (["images", "x", "--temperature", "0,1"], "wanted two or more positive numbers"),
        (["imges"], "Did you mean 'images'"),
        (["digits", "--devices", "2"], "a sweep trains on one device"),
    ],
)
def test_words_that_make_no_sweep(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["sweep", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_recipe_without_a_temperature(tmp_path: Path, capsys: Capture) -> None:
    recipe = tmp_path / "plain.py"
    recipe.write_text('"""Plain."""\n\n\ndef plain(temperature: float = 0.1):\n    """Plain."""\n')
    assert main(["sweep", str(recipe), "--schedules"]) == 1
    assert "has no parameter 'final_temperature'" in capsys.readouterr().err
    assert main(["sweep"]) == 2
    assert main(["sweep", "--help"]) == 0


def test_the_verdict_says_where_the_best_lies() -> None:
    middle = [trial("tau-0.1", 0.1, 0.5), trial("tau-0.2", 0.2, 0.7), trial("tau-1", 1, 0.6)]
    assert "0.2 is best (0.700), inside the sweep" in verdict(middle)
    assert "the edge of the sweep: try higher ones" in verdict(middle[:2])
    assert "try lower ones" in verdict([middle[0], trial("tau-1", 1, 0.3)])
    assert "no temperature is best" in verdict([replace(one, scores={}) for one in middle])
