"""A run's experiment again, with what it has learned."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train
from nearfar.files import reading
from nearfar.recipes import build, find
from nearfar.train import Run
from nearfar.train._run import START_OVER


@contextmanager
def from_here(run: Run, instead: str = "") -> Iterator[None]:
    """Say of an error in what a run's settings name that nobody named it now.

    Args:
        run: Relative paths among its settings begin where it was trained.
        instead: What else the user may do.
    """
    try:
        yield
    except NearfarError as error:
        raise NearfarError(
            f"run={str(run.folder)!r}: its settings, seen from {str(Path.cwd())!r}, do not lead to "
            f"what it learned from: {error} Give the command in the folder where the run was "
            f"trained{instead}."
        ) from error


def experiment_of(run: Run, instead: str = "") -> Experiment:
    """The experiment of a run, before it has learned anything.

    Args:
        run: Its settings name the recipe; the data must still be where they were.
        instead: What else the user may do where they are not.

    Raises:
        NearfarError: It is no run, its settings are damaged, or the recipe is gone.
    """
    settings = run.settings()
    recipe = find(settings["recipe"])
    names = inspect.signature(recipe.load()).parameters
    chosen = {name: settings[name] for name in names if name in settings}
    with reading(run.config, START_OVER):
        if "seed" not in settings:
            raise ValueError("it is cut off")
    with from_here(run, instead):
        return build(recipe, chosen, settings["seed"])


def rebuilt(run: Run) -> tuple[Experiment, Train]:
    """The experiment of a run with the weights of its last checkpoint: head's and rival's, too.

    Args:
        run: See `experiment_of`.

    Raises:
        NearfarError: No checkpoint yet, or a damaged one.
    """
    settings = run.settings()
    if not run.checkpoint.is_file():
        raise NearfarError(
            f"run={str(run.folder)!r} has no checkpoint yet: give its `nearfar train` command "
            "again and let it finish, or stop it with Ctrl-C."
        )
    train = Train(**{f.name: settings[f.name] for f in fields(Train) if f.name in settings})
    experiment = experiment_of(run)
    state = run.state()
    learner = state["learner"]
    for name in ("model", "temperature"):
        own = f"{name}."
        part = {key.removeprefix(own): learner[key] for key in learner if key.startswith(own)}
        getattr(experiment, name).load_state_dict(part)
    if experiment.rival is not None:
        experiment.rival.load_state_dict(state["turn"]["rival"])
    return experiment, train
