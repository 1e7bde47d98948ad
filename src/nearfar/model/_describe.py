"""Parts said in plain JSON: the class, and the settings it was made from."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Protocol, TypeVar

from nearfar.errors import NearfarError


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
        kind = getattr(importlib.import_module(module), name)
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
