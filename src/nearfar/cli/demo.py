"""See it work in a minute: crooked handwritten digits, nothing to download."""

from __future__ import annotations

from collections.abc import Sequence

from nearfar.recipes import find


def demo(out: str = "runs/demo", json: bool = False, fresh: bool = False) -> int:
    """Train on scikit-learn's digits, judge the encoder on digits seen crookedly, and report.

    Args:
        out: Folder of the run.
        json: Print the figures as JSON.
        fresh: Start over even if the folder holds a run.
    """
    import inspect

    from nearfar.cli._session import Session
    from nearfar.experiment import Train

    recipe = find("digits")
    parameters = inspect.signature(recipe.load()).parameters.values()
    settings = {parameter.name: parameter.default for parameter in parameters}
    return Session(recipe, settings, Train(out=out, fresh=fresh), as_json=json).run()


def command(words: Sequence[str]) -> int:
    """``nearfar demo``."""
    from nearfar.cli._parse import call

    return call(demo, "nearfar demo", words)
