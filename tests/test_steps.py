"""The ways to take a step: plain, against a memory bank, in chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.experiment import Train
from nearfar.train import Run

Capture = pytest.CaptureFixture[str]


def lines(shapes: Path, out: Path, *flags: str) -> list[dict[str, float]]:
    every = ["--steps=20", "--batch-size=16", "--size=16", "--precision=32-true", "--out", str(out)]
    assert main(["train", "images", str(shapes), *every, *flags]) == 0
    return Run(out).lines()


def test_one_chunk_is_the_plain_step(shapes: Path, tmp_path: Path) -> None:
    plain = lines(shapes, tmp_path / "plain")
    chunk = lines(shapes, tmp_path / "chunk", "--cache-chunk", "16")
    assert [line["loss"] for line in chunk] == pytest.approx([line["loss"] for line in plain])


@pytest.mark.parametrize("more", [[], ["--cache_chunk", "8"]])
def test_a_bank_makes_the_crowd_larger(
    shapes: Path, tmp_path: Path, capsys: Capture, more: list[str]
) -> None:
    first, last = lines(shapes, tmp_path / "run", "--bank", "200", "--momentum", "0.9", *more)
    assert "up to 215 negatives a query" in capsys.readouterr().out
    assert first["loss"] == pytest.approx(first["info_nce"], rel=1e-3)  # nothing is in it yet
    assert last["loss"] > last["info_nce"] + 0.5


def test_a_bank_holds_a_batch_at_least(shapes: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["train", "images", str(shapes), "--out", str(tmp_path / "run"), "--bank", "8"]
    assert main(words) == 1
    assert "bank=8 is smaller than a batch, which holds 120 items" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_bank_is_refused_to_pairs_that_are_made_within_a_batch(
    tmp_path: Path, capsys: Capture
) -> None:
    links = np.stack([np.arange(19), np.arange(1, 20)])
    np.savez(tmp_path / "g.npz", x=np.eye(20, dtype=np.float32), edge_index=links)
    out = tmp_path / "run"
    words = ["train", "graphs", str(tmp_path / "g.npz"), "--out", str(out), "--width", "8"]
    assert main([*words, "--bank", "40", "--batch-size", "8"]) == 1
    assert "bank=40: these pairs say who is whose partner" in capsys.readouterr().err
    assert not Run(out).lines()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bank": 0}, "bank=0: wanted 1 or more"),
        ({"momentum": 0.9}, "there is no bank. Add --bank 65536"),
        ({"bank": 64, "momentum": 1.0}, "0 <= momentum < 1"),
        ({"cache_chunk": 2}, "cache_chunk=2: wanted 4 or more"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, float], said: str) -> None:
    with pytest.raises(NearfarError, match=said):
        Train(**settings)  # type: ignore[arg-type]
