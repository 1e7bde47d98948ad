"""Train an encoder without labels: nearfar train RECIPE ..."""

from __future__ import annotations

import inspect
from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import fields

from nearfar.recipes import Recipe, find, recipes


def command(words: Sequence[str]) -> int:
    """``nearfar train RECIPE ...``: the recipe's signature and `Train` are the flags."""
    if not words or words[0] in ("-h", "--help"):
        print("usage: nearfar train RECIPE ...    (nearfar train RECIPE --help says more)\n")
        for recipe in recipes().values():
            print(f"  {recipe.name:<12}{recipe.summary}")
        return 0 if words else 2
    return _train(find(words[0]), words[1:])


def _train(recipe: Recipe, words: Sequence[str]) -> int:
    from nearfar.cli._parse import parser
    from nearfar.cli._session import Session
    from nearfar.experiment import Train

    function = recipe.load()
    parse = parser(f"nearfar train {recipe.name}", function, Train)
    parse.add_argument("--json", action="store_true", help="Print the figures as JSON.")
    parse.add_argument("--config", action="config", help="Settings from a run's config.yaml.")
    known = recipe.reference
    parse.add_argument("--recipe", default=known, choices=[known], help=SUPPRESS)
    values = parse.read(words)
    settings = {name: values[name] for name in inspect.signature(function).parameters}
    train = Train(**{field.name: values[field.name] for field in fields(Train)})
    return Session(recipe, settings, train, as_json=values["json"]).run()
