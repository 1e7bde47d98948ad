"""Python files that belong to no package, imported."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def module_name(stem: str) -> str:
    """What the module of a recipe's file is called, so that none that exists is in its way.

    Example:
        >>> module_name("queue")
        'nearfar_recipe_queue'
    """
    return f"nearfar_recipe_{stem}"


def import_file(file: Path) -> ModuleType:
    """Run a recipe's file, whose name ends with .py, and keep it under its `module_name`."""
    name = module_name(file.stem)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
