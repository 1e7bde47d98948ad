"""Numbers that make no sense are refused by name, in one line, before anything is learned."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.errors import check_range
from nearfar.experiment import Train
from nearfar.recipes import find, recipes
from nearfar.train import precision
from nearfar.train._fabric import make_fabric


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("images --size 0", "size=0: wanted 8 or more"),
        ("images --crop 2", "crop=2.0: wanted 0 < crop <= 1"),
        ("images --crop 0", "crop=0.0: wanted 0 < crop <= 1"),
        ("images --colour -1", "colour=-1.0: wanted 0 <= colour <= 1"),
        ("images --rotate -20", "rotate=-20.0: wanted 0 <= rotate <= 360"),
        ("images --label-weight -2", "label_weight=-2.0: wanted 0 or more"),
        ("images --temperature 0", "temperature=0.0: wanted a temperature between"),
        ("images --final-temperature 50", "final_temperature=50.0: wanted a temperature between"),
        ("images --clip -1", "clip=-1.0: wanted 0 or more"),
        ("digits --shift 2", "shift=2.0: wanted 0 <= shift <= 1"),
        ("digits --scale 1", "scale=1.0: wanted 0 <= scale < 1"),
        ("graphs --width 0", "width=0: wanted 1 or more"),
        ("dna --dim 0", "dim=0: wanted 1 or more"),
        ("gan --size 0", "size=0: wanted 8 or more"),
        ("gan --width 0", "width=0: wanted 1 or more"),
        ("micrographs --noise -1", "noise=-1.0: wanted 0 or more"),
        ("micrographs --wander 2", "wander=2.0: wanted 0 <= wander <= 1"),
        ("pixels --frames 1", "frames=1: wanted 2 or more"),
        ("pixels --window 8", "window=8: wanted 16 or more"),
        ("translation --drop 1", "drop=1.0: wanted 0 <= drop < 1"),
        ("translation --held-out -1", "held_out=-1: wanted 0 or more"),
        ("audio_image --window 0", "window=0.0: wanted more than 0"),
        ("audio_image --rate 0", "rate=0: wanted 2,000 samples a second or more"),
    ],
)
def test_a_recipes_numbers(
    words: str, said: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, *flags = words.split()
    data = [] if recipe in ("digits", "audio_image") else [str(shapes)]
    out = tmp_path / "run"
    assert main(["train", recipe, *data, *flags, "--steps", "1", "--out", str(out)]) == 1
    assert capsys.readouterr().err.startswith(f"nearfar train: {said}")
    assert not out.exists()


@pytest.mark.parametrize("name", sorted(recipes()))
def test_before_the_data_are_read(name: str) -> None:
    recipe = find(name).load()
    words = inspect.signature(recipe).parameters.values()
    data = ["nowhere" for word in words if word.default is word.empty]
    with pytest.raises(NearfarError, match=r"^temperature=-1\.0: wanted a temperature between"):
        recipe(*data, temperature=-1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": -1}, "steps=-1: wanted 1 or more"),
        ({"lr": 0.0}, "lr=0.0: wanted more than 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: wanted 0 or more"),
        ({"clip": math.nan}, "clip=nan: wanted 0 or more"),
        ({"checkpoint_seconds": -1.0}, "checkpoint_seconds=-1.0: wanted 0 or more"),
        ({"warmup": 1.0}, "warmup=1.0: wanted 0 <= warmup < 1"),
    ],
)
def test_trainings_numbers(settings: dict[str, float], said: str) -> None:
    with pytest.raises(NearfarError, match=said):
        Train(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("ends", ["[]", "[)", "(]", "()"])
def test_ends_of_a_range(ends: str) -> None:
    check_range(0, 1, ends, inside=0.5, nobody=None)
    for number, bracket in ((0, ends[0]), (1, ends[1])):
        if bracket in "[]":
            check_range(0, 1, ends, number=number)
        else:
            with pytest.raises(NearfarError, match=rf"number={number}: wanted 0 <.*number <.* 1\."):
                check_range(0, 1, ends, number=number)


def test_a_cpu_has_no_fp16() -> None:
    train = Train(precision="16-mixed", accelerator="cpu")
    assert precision(train) == "bf16-mixed"
    make_fabric(train)  # What Lightning warns of is an error in these tests.
