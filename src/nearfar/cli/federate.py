"""Train over many clients that keep their data: nearfar federate simulate RECIPE ..."""

from __future__ import annotations

import inspect
from argparse import SUPPRESS
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.federate import Plan
    from nearfar.model import Model
    from nearfar.train import Run

_USAGE = """usage: nearfar federate simulate RECIPE ...   all clients on this machine
       nearfar federate server RECIPE ...     wait for clients, and average
       nearfar federate client SERVER PATH    train here, on data that stay here

Each of them says more with --help (simulate and server after the recipe's name)."""


def command(words: Sequence[str]) -> int:
    """``nearfar federate simulate|server|client ...``."""
    from nearfar.cli._parse import call
    from nearfar.errors import did_you_mean

    kinds = {"simulate": _simulate, "server": _server, "client": None}
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if words else 2
    kind, rest = words[0], words[1:]
    if kind not in kinds:
        print(f"nearfar federate: there is no {kind!r}.{did_you_mean(kind, kinds)}\n\n{_USAGE}")
        return 2
    if kind == "client":
        return call(client, "nearfar federate client", rest)
    if not rest or rest[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if rest else 2
    return _simulate(rest) if kind == "simulate" else _server(rest)


def _simulate(words: Sequence[str]) -> int:
    from nearfar.cli import _show as show
    from nearfar.cli._parse import parser
    from nearfar.federate import Federation, Plan, Split, dealt, simulate, whole
    from nearfar.recipes import find
    from nearfar.train import Run

    recipe = find(words[0])
    function = recipe.load()
    parse = parser(f"nearfar federate simulate {recipe.name}", function, Split, Federation)
    parse.add_argument(
        "--engine",
        choices=["process", "ray"],
        default="process",
        help="One client after the other here, or Flower's simulation in Ray's processes.",
    )
    values = parse.read(words[1:])
    settings = {name: values[name] for name in inspect.signature(function).parameters}
    federation = Federation(**{f.name: values[f.name] for f in fields(Federation)})
    split = Split(**{f.name: values[f.name] for f in fields(Split)})
    plan = Plan(recipe.reference, settings, federation, split)
    console = show.out()
    run = Run(federation.out or f"runs/federate-{recipe.name}")
    experiment = whole(plan.text)
    show.show_skipped(console, experiment.skipped)
    dealt(plan.text)  # what cannot be dealt out is refused before the folder is touched
    with _begun(run, plan):
        server = simulate(plan, run, console.print, engine=values["engine"])
    model = _save(run, plan, server.model, server.weights)
    if experiment.probe is not None:
        _judge(console, run, model, experiment.probe)
    _end(console, run, show.next_steps(run, experiment, settings.get("path")))
    return 0


def _server(words: Sequence[str]) -> int:
    import shlex

    from nearfar.cli import _show as show
    from nearfar.cli._parse import parser
    from nearfar.federate import Federation, Plan, data_names
    from nearfar.federate._processes import Security, serve
    from nearfar.recipes import find
    from nearfar.train import Run

    recipe = find(words[0])
    function, data = recipe.load(), data_names(words[0])
    parse = parser(f"nearfar federate server {recipe.name}", function, Federation, Security)
    parse.add_argument("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 for all.")
    parse.add_argument("--port", type=int, default=8000, help="Port to listen on.")
    for action in parse._actions:
        if action.dest in data:
            action.help = SUPPRESS
    # What names data is each client's own.
    values = parse.read([*(["-"] * len(data)), *words[1:]])
    settings = {
        name: values[name] for name in inspect.signature(function).parameters if name not in data
    }
    federation = Federation(**{f.name: values[f.name] for f in fields(Federation)})
    security = Security(**{f.name: values[f.name] for f in fields(Security)})
    plan = Plan(recipe.reference, settings, federation)
    console = show.out()
    run = Run(federation.out or f"runs/federate-{recipe.name}")
    with _begun(run, plan):
        serve(plan, run, values["host"], values["port"], security, console.print)
    state = run.state()
    _save(run, plan, state["model"], state["learner"])
    # The data to judge by are not here.
    _end(console, run, [f"nearfar evaluate {shlex.quote(str(run.folder))} PATH"])
    return 0


def client(
    server: str,
    path: str,
    name: str | None = None,
    authority: str | None = None,
    insecure: bool = False,
) -> int:
    """Train on this machine's data for a server, until stopped.

    Args:
        server: Its address, host:port.
        path: The data, as the recipe takes them.
        name: Who this is, the same after a restart; by default the machine and the data.
        authority: A PEM file: who signed the server's certificate.
        insecure: No TLS: whoever is on the way reads weights and embeddings.
    """
    from nearfar.federate._processes import Security, join

    return join(server, [path], name, Security(authority=authority, insecure=insecure))


def _begun(run: Run, plan: Plan) -> AbstractContextManager[Any]:
    """Open the run folder; the same settings again go on."""
    split: dict[str, Any] = asdict(plan.split) if plan.split else {}
    every = {"recipe": plan.recipe, **plan.settings, **asdict(plan.federation), **split}
    return run.begin(every, fresh=plan.federation.fresh)


def _save(run: Run, plan: Plan, description: dict[str, Any], weights: Any) -> Model:
    from nearfar.federate import model_of

    model = model_of(description, weights)
    model.save(run.model, recipe=plan.recipe, settings=plan.settings)
    return model


def _judge(console: Any, run: Run, model: Model, probe: Any) -> None:
    import json

    from nearfar.cli import _show as show
    from nearfar.cli._judge import judge
    from nearfar.files import replace_text
    from nearfar.model import load

    scores = judge(model, load(run.model, weights=run.untrained), probe)
    replace_text(run.scores, json.dumps(scores.as_json(), indent=2) + "\n")
    show.show_scores(console, scores)


def _end(console: Any, run: Run, next_commands: list[str]) -> None:
    from nearfar.cli import _show as show

    show.say(console, "model", str(run.model))
    show.say(console, "privacy", str(run.folder / "privacy.json"))
    show.show_next(console, next_commands)
