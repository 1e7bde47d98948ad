"""Compiled loops are kept on disk, and made anew when anything that they are made of changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nearfar

pytest.importorskip("numba")
FORCE = """
import torch
from nearfar.loss.loops import tiles
tile = torch.full((1, 16), 3.0)
tiles.force(tile, torch.tensor([2.0]), None, tile)
print(tile[0, 0].item())
"""


def force(folder: Path) -> float:
    """Two times three, by loops that are kept in a copy of the package."""
    words = {name: x for name, x in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", FORCE],
        env=words | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return float(done.stdout)


def test_loops_are_made_anew_after_an_upgrade_of_what_they_call(tmp_path: Path) -> None:
    package = tmp_path / "nearfar"
    shutil.copytree(
        Path(nearfar.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    assert force(tmp_path) == 6
    kept = package / "loss" / "loops" / "__pycache__"
    assert list(kept.glob("tiles._force*.nbc"))
    called = package / "loss" / "loops" / "_line.py"
    text = called.read_text()
    assert '_arithmetic("fmul"' in text
    called.write_text(text.replace('_arithmetic("fmul"', '_arithmetic("fadd"'))
    assert force(tmp_path) == 5
