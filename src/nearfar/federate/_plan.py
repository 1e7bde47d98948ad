"""What server and clients must agree on, as text; and the client that follows from it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from nearfar.errors import NearfarError
from nearfar.experiment import Experiment
from nearfar.federate._client import Client
from nearfar.federate._federation import Federation, Split
from nearfar.federate._norms import group_normed
from nearfar.federate._part import Part
from nearfar.federate._split import Rows, deal
from nearfar.pairs import seeded
from nearfar.recipes import build, find


@dataclass(frozen=True)
class Plan:
    """A recipe over many clients.

    Attributes:
        recipe: Its name, or its file's path, the same on all machines.
        settings: Arguments of its function; those that name data are a client's own.
        federation: How.
        split: How a data set is dealt out; None where clients bring their own.
    """

    recipe: str
    settings: dict[str, Any]
    federation: Federation
    split: Split | None = None

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def of(text: str) -> Plan:
        """Read again."""
        plan = json.loads(text)
        split = plan["split"] and Split(**plan["split"])
        return Plan(plan["recipe"], plan["settings"], Federation(**plan["federation"]), split)

    def experiment(self, **data: Any) -> Experiment:
        """What is learned, with weights drawn from the seed.

        Args:
            data: The settings that name data, where the plan has none.
        """
        seed = self.federation.seed
        made = build(find(self.recipe), self.settings | data, seed)
        if self.federation.norms == "local":
            return made
        with seeded(seed):
            return replace(made, model=group_normed(made.model))


def data_names(recipe: str) -> list[str]:
    """The settings of a recipe that name data: those that have no default."""
    parameters = inspect.signature(find(recipe).load()).parameters.values()
    return [p.name for p in parameters if p.default is inspect.Parameter.empty]


@lru_cache(maxsize=1)
def whole(text: str) -> Experiment:
    """The experiment of a plan on all of its data; read once in a process."""
    return Plan.of(text).experiment()


@lru_cache(maxsize=1)
def dealt(text: str) -> list[Rows]:
    """The rows of each simulated client of a plan with a split; dealt out once in a process."""
    plan, experiment = Plan.of(text), whole(text)
    assert plan.split is not None
    return deal(plan.split, len(experiment.pairs), experiment.labels, plan.federation.seed)


def simulated(text: str, node: Mapping[str, Any]) -> Client:
    """A simulated client: its part of the data set.

    Args:
        text: Of a plan with a split.
        node: Flower's settings of the node; ``partition-id`` counts clients from 0.
    """
    return _simulated(text, int(node["partition-id"]))


@lru_cache(maxsize=1024)
def _simulated(text: str, number: int) -> Client:
    experiment, rows = whole(text), dealt(text)[number]
    pairs = Part(experiment.pairs, torch.from_numpy(rows))
    return Client(replace(experiment, pairs=pairs), Plan.of(text).federation, number + 1)


def real(text: str, node: Mapping[str, Any]) -> Client:
    """A client with data of its own.

    Args:
        text: Of a plan without a split.
        node: ``data`` is the JSON of the words that name its data, in hex; so is ``name``.

    Raises:
        NearfarError: The recipe needs other data than the client was started with.
    """
    plan, words = Plan.of(text), json.loads(bytes.fromhex(str(node["data"])))
    names = data_names(plan.recipe)
    if len(names) != len(words):
        raise NearfarError(
            f"The server trains {plan.recipe!r}, which needs {', '.join(names) or 'no data'}; this "
            f"client was started with {len(words)} word(s). Wanted `nearfar federate client SERVER "
            f"{' '.join(name.upper() for name in names)}`."
        )
    experiment = plan.experiment(**dict(zip(names, words, strict=True)))
    digest = hashlib.blake2b(bytes.fromhex(str(node["name"])), digest_size=8).digest()
    return Client(experiment, plan.federation, int.from_bytes(digest, "little") >> 1)
