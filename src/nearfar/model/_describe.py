"""Parts said in plain JSON: the class, and the settings it was made from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from nearfar.errors import NearfarError
from nearfar.imports import import_file, module_name


class Describable(Protocol):
    """Anything that keeps, in plain JSON, the arguments it was made from."""

    settings: dict[str, Any]


Part = TypeVar("Part")


def describe(part: Describable) -> dict[str, Any]:
    """Say how to rebuild a part: its class and the settings it was made from.

    Example:
        >>> from nearfar.encoders import ProjectionHead
        >>> describe(ProjectionHead(8, hidden=16, out=4))["class"]
        'nearfar.encoders:ProjectionHead'
    """
    kind = type(part)
    return {"class": f"{_public_room(kind)}:{kind.__qualname__}", "settings": part.settings}


def _public_room(kind: type) -> str:
    """Where a class is exported, so that a saved model outlives a renamed private file."""
    room, _, file = kind.__module__.rpartition(".")
    public = file.startswith("_") and hasattr(sys.modules[room], kind.__name__)
    return room if public else kind.__module__


def rebuild(description: dict[str, Any], wanted: type[Part]) -> Part:
    """Make a part again from what `describe` said. Nothing is unpickled.

    Args:
        description: A class (``module:name``) and its settings.
        wanted: The class it must descend from; anything else is refused before it is called.

    Raises:
        NearfarError: The class cannot be imported, or is not a ``wanted``.
    """
    module, _, name = str(description["class"]).partition(":")
    try:
        kind = getattr(_module(module), name)
    except (ImportError, AttributeError) as error:
        raise NearfarError(
            f"config.json asks for the class {description['class']!r}, which cannot be imported "
            f"({error}). Install the package that defines it, or the nearfar version named there."
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, wanted)):
        raise NearfarError(
            f"config.json asks for {description['class']!r}, which is not a {wanted.__name__}; "
            "it is not loaded."
        )
    return kind(**description["settings"])


def import_recipe(config: dict[str, Any]) -> None:
    """Import the recipe of a saved model, where that is a file and the model's classes are in it.

    Args:
        config: Of the model; it names its recipe.

    Raises:
        NearfarError: The file is gone.
    """
    file = Path(str(config.get("recipe")))
    asked, own = set(_modules(config)), module_name(file.stem)
    # Never a relative one: it could lead to a file that came with the model.
    there = file.is_absolute() and file.is_file()
    if own in asked and not there:
        raise NearfarError(
            f"config.json asks for classes of the recipe {str(file)!r}, and there is no such file. "
            "Put it back there, or write in config.json, as its recipe, the full path where it is."
        )
    if there and asked & {own, file.stem}:
        import_file(file)


def _module(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        # Models of before recipes' files had a name of their own.
        if (own := module_name(name)) in sys.modules:
            return sys.modules[own]
        raise


def _modules(config: Any) -> Iterator[str]:
    """The modules of all classes in a configuration; there are parts within parts."""
    if isinstance(config, dict):
        if "class" in config:
            yield str(config["class"]).partition(":")[0]
        for value in config.values():
            yield from _modules(value)
