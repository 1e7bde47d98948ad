"""Find recipes by name, by path or by entry point, without importing torch."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nearfar.errors import NearfarError, did_you_mean

if TYPE_CHECKING:
    from nearfar.experiment import Experiment


@dataclass(frozen=True)
class Recipe:
    """A recipe before it is imported.

    Attributes:
        name: What the user types; the module's function has the same name.
        file: The Python file.
    """

    name: str
    file: Path

    @property
    def reference(self) -> str:
        """What finds it again: its name, or its file where no name leads there."""
        known = recipes().get(self.name)
        return self.name if known is not None and known.file == self.file else str(self.file)

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
        here = Path(__file__).parent
        module_name = f"nearfar.recipes.{self.name}" if self.file.parent == here else self.name
        spec = importlib.util.spec_from_file_location(module_name, self.file)
        if spec is None or spec.loader is None:
            raise NearfarError(f"recipe file {str(self.file)!r} is not a Python file.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
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
    found = {file.stem: Recipe(file.stem, file) for file in sorted(files)}
    for entry in entry_points(group="nearfar.recipes"):
        spec = importlib.util.find_spec(entry.module)
        if spec and spec.origin:
            found[entry.name] = Recipe(entry.name, Path(spec.origin))
    return found


def find(name: str) -> Recipe:
    """The recipe of this name, or of this file.

    Args:
        name: ``images``, or ``path/to/mine.py``.

    Raises:
        NearfarError: There is none.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise NearfarError(f"recipe={name!r}: there is no such file.")
        return Recipe(Path(name).stem, Path(name).resolve())
    known = recipes()
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
