"""Train at several temperatures and compare: nearfar sweep RECIPE ... --temperature 0.05,0.1,0.2"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from nearfar.recipes import Recipe, find

_USAGE = """usage: nearfar sweep RECIPE ... [--temperature 0.05,0.1,0.2,0.5,1] [--schedules]

Trains the recipe once at each temperature, every other flag as in `nearfar train RECIPE`, and
compares probe accuracy, alignment and uniformity. --schedules adds a run whose temperature falls
along a cosine from the highest to the lowest, and one that learns it, from the middle one.
The same command again goes on where it stopped."""
TEMPERATURES = "0.05,0.1,0.2,0.5,1"
# What a recipe that can schedule its temperature calls it.
_SCHEDULES = ("final_temperature", "learn_temperature")


def command(words: Sequence[str]) -> int:
    """``nearfar sweep RECIPE ...``: the flags of ``nearfar train``, but several temperatures."""
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    return _sweep(find(words[0]), words[1:])


def _sweep(recipe: Recipe, words: Sequence[str]) -> int:
    from nearfar.cli import _show as show
    from nearfar.cli._parse import parser
    from nearfar.cli._session import Session
    from nearfar.errors import NearfarError
    from nearfar.experiment import Train
    from nearfar.report import Trial, write_sweep
    from nearfar.train import Run

    function = recipe.load()
    parse = parser(f"nearfar sweep {recipe.name}", function, Train, skip=["temperature"])
    parse.add_argument(
        "--temperature",
        default=TEMPERATURES,
        metavar=TEMPERATURES,
        help="The recipe is trained at each of them.",
    )
    parse.add_argument(
        "--schedules",
        action="store_true",
        help="Train once more with a temperature that falls from the highest to the lowest, and "
        "once with one that is learned.",
    )
    values = parse.read(words)
    temperatures, schedules = _temperatures(values["temperature"]), values["schedules"]
    names = inspect.signature(function).parameters
    _check(recipe, list(names), schedules=schedules)
    settings = {name: values[name] for name in names}
    train = Train(**{field.name: values[field.name] for field in fields(Train)})
    if train.devices > 1:
        # The processes that help leave after the first training.
        raise NearfarError(
            f"devices={train.devices}: a sweep trains on one device. Wanted --devices 1, or "
            f"`nearfar train {recipe.name}` once for each temperature."
        )
    folder = train.out or f"runs/sweep-{recipe.name}"
    trials = []
    for label, changed in _variants(temperatures, schedules=schedules):
        one = replace(train, out=f"{folder}/{label}")
        code = Session(recipe, settings | changed, one).run()
        if code:
            return code
        trials.append(Trial.of(label, changed["temperature"], Run(one.out or "")))
    page = write_sweep(folder, recipe.name, trials)
    console = show.out()
    show.show_sweep(console, trials)
    show.say(console, "report", str(page))
    return 0


def _temperatures(given: str) -> list[float]:
    """What ``--temperature`` names, the lowest first."""
    from nearfar.errors import NearfarError

    try:
        temperatures = sorted({float(number) for number in given.split(",")})
    except ValueError as error:
        raise NearfarError(
            f"--temperature {given!r}: wanted numbers with commas between them, such as "
            f"{TEMPERATURES}."
        ) from error
    if len(temperatures) < 2 or temperatures[0] <= 0:
        raise NearfarError(
            f"--temperature {given!r}: wanted two or more positive numbers to compare, such as "
            f"{TEMPERATURES}."
        )
    return temperatures


def _check(recipe: Recipe, names: list[str], *, schedules: bool) -> None:
    from nearfar.errors import NearfarError

    wanted = ["temperature", *(_SCHEDULES if schedules else ())]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise NearfarError(
            f"recipe={recipe.name!r} has no parameter {missing[0]!r}; wanted one that has, as "
            "`images` does" + (", or leave --schedules out." if schedules else ".")
        )


def _variants(
    temperatures: list[float], *, schedules: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A name for each run, and the settings in which it differs."""
    for tau in temperatures:
        yield f"tau-{tau:g}", {"temperature": tau}
    if schedules:
        first, last = temperatures[-1], temperatures[0]
        yield "cosine", {"temperature": first, "final_temperature": last}
        middle = temperatures[len(temperatures) // 2]
        yield "learned", {"temperature": middle, "learn_temperature": True}
