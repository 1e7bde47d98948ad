"""Small pictures that need no download: discs, bars and crosses on noisy ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# Small work: threads that wait for each other cost more than they bring.
torch.set_num_threads(1)
SHAPES = ("bar", "cross", "disc")


def picture(shape: str, rng: np.random.Generator, side: int = 32) -> np.ndarray:
    """(side, side, 3) uint8."""
    y, x = np.mgrid[:side, :side] - side / 2 + rng.uniform(-3, 3, (2, 1, 1))
    ink = {
        "disc": x**2 + y**2 < 64,
        "bar": abs(x) < 3,
        "cross": (abs(x) < 3) | (abs(y) < 3),
    }[shape]
    ground, colour = rng.uniform(0, 0.5, 3), rng.uniform(0.5, 1, 3)
    out = np.where(ink[..., None], colour, ground) + rng.normal(0, 0.03, (side, side, 3))
    return (out.clip(0, 1) * 255).astype(np.uint8)


def fill(folder: Path, each: int, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            ending = "png" if number % 2 else "jpg"
            Image.fromarray(picture(shape, rng)).save(folder / shape / f"{number:03}.{ending}")
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 120 labelled pictures."""
    return fill(tmp_path_factory.mktemp("shapes"), 40)


@pytest.fixture(scope="session")
def trained(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on them."""
    from nearfar.cli import main

    run = tmp_path_factory.mktemp("trained") / "run"
    flags = ["--size", "16", "--steps", "80", "--batch_size", "32", "--crop", "0.6"]
    assert main(["train", "images", str(shapes), "--out", str(run), *flags]) == 0
    return run


@pytest.fixture(params=["PyTorch", "numba"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who goes over tiles, whatever their size."""
    name: str = request.param
    if name == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr("nearfar.loss.loops.LEAST", 0 if name == "numba" else 2**62)
    return name
