"""Find recipes by name, by path or by entry point, without importing torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import NearfarError, did_you_mean
from nearfar.imports import import_file

if TYPE_CHECKING:
    from nearfar.experiment import Experiment


@dataclass(frozen=True)
class Recipe:
    """A recipe before it is imported.

    Attributes:
        name: What the user types; the module's function has the same name.
        file: The Python file.
        module: What it is imported as; None for a file that belongs to no package.
    """

    name: str
    file: Path
    module: str | None = None

    @property
    def reference(self) -> str:
        """What finds it again: its name, or its file where no name leads there."""
        return str(self.file) if self.module is None else self.name

    @property
    def summary(self) -> str:
        """The first line of the file's docstring."""
        text = ast.get_docstring(ast.parse(self.file.read_text(encoding="utf-8"))) or ""
        return text.partition("\n")[0]

    def load(self) -> Callable[..., Experiment]:
        """Import the file and return its function.

        Raises:
            NearfarError: The file has no function of the recipe's name.
        """
        module = import_module(self.module) if self.module else import_file(self.file)
        function = getattr(module, self.name, None)
        if function is None:
            raise NearfarError(
                f"{str(self.file)!r} has no function {self.name!r}; a recipe's function has the "
                "name of its file."
            )
        return function  # type: ignore[no-any-return]


def recipes() -> dict[str, Recipe]:
    """All recipes by name: nearfar's own, and packages' with a ``nearfar.recipes`` entry."""
    files = [file for file in Path(__file__).parent.glob("*.py") if not file.stem.startswith("_")]
    found = {
        file.stem: Recipe(file.stem, file, f"nearfar.recipes.{file.stem}") for file in sorted(files)
    }
    for entry in entry_points(group="nearfar.recipes"):
        spec = importlib.util.find_spec(entry.module)
        if spec and spec.origin:
            found[entry.name] = Recipe(entry.name, Path(spec.origin), entry.module)
    return found


def find(name: str) -> Recipe:
    """The recipe of this name, or of this file.

    Args:
        name: ``images``, or ``path/to/mine.py``.

    Raises:
        NearfarError: There is none.
    """
    known = recipes()
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise NearfarError(f"recipe={name!r}: there is no such file.")
        file = Path(name).resolve()
        named = (recipe for recipe in known.values() if recipe.file == file)
        return next(named, Recipe(file.stem, file))
    if name not in known:
        raise NearfarError(
            f"recipe={name!r} is unknown.{did_you_mean(name, known)} "
            f"Known: {', '.join(known)}; or the path of a Python file."
        )
    return known[name]


def build(recipe: Recipe, settings: dict[str, Any], seed: int) -> Experiment:
    """Call a recipe with its weights drawn from ``seed``."""
    from nearfar.pairs import seeded

    function = recipe.load()
    with seeded(seed):
        return function(**settings)
