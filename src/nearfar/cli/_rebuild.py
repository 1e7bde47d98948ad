"""A run's experiment again, with what it has learned."""

from __future__ import annotations

import inspect
from dataclasses import fields

import torch

from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train
from nearfar.recipes import build, find
from nearfar.train import Run


def experiment_of(run: Run) -> Experiment:
    """The experiment of a run, before it has learned anything.

    Args:
        run: Its settings name the recipe; the data must still be where they were.

    Raises:
        NearfarError: It is no run, or the recipe is gone.
    """
    settings = run.settings()
    recipe = find(settings["recipe"])
    names = inspect.signature(recipe.load()).parameters
    chosen = {name: settings[name] for name in names if name in settings}
    return build(recipe, chosen, settings["seed"])


def rebuilt(run: Run) -> tuple[Experiment, Train]:
    """The experiment of a run with the weights of its last checkpoint: head's and rival's, too.

    Args:
        run: See `experiment_of`.

    Raises:
        NearfarError: No checkpoint yet.
    """
    settings = run.settings()
    if not run.checkpoint.is_file():
        raise NearfarError(
            f"run={str(run.folder)!r} has no checkpoint yet: give its `nearfar train` command "
            "again and let it finish, or stop it with Ctrl-C."
        )
    train = Train(**{f.name: settings[f.name] for f in fields(Train) if f.name in settings})
    experiment = experiment_of(run)
    state = torch.load(run.checkpoint, map_location="cpu", weights_only=True)
    learner = state["learner"]
    for name in ("model", "temperature"):
        own = f"{name}."
        part = {key.removeprefix(own): learner[key] for key in learner if key.startswith(own)}
        getattr(experiment, name).load_state_dict(part)
    if experiment.rival is not None:
        experiment.rival.load_state_dict(state["turn"]["rival"])
    return experiment, train
