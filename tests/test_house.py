"""The house: imports point downward, files are small, and CONTRIBUTING draws what is there."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "nearfar"


def floors() -> dict[str, int]:
    """Room to floor, 0 the highest, as drawn in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawing = re.search(r"```house\n(.*?)```", text, re.S)
    assert drawing
    lines = [line.split("#")[0].split() for line in drawing[1].splitlines()]
    return {
        room: floor for floor, rooms in enumerate(line for line in lines if line) for room in rooms
    }


def rooms_in_source() -> set[str]:
    places = {
        file.relative_to(SOURCE).parts[0].removesuffix(".py") for file in SOURCE.rglob("*.py")
    }
    return places - {"__init__", "__main__"}


def test_the_drawing_shows_every_room() -> None:
    assert set(floors()) == rooms_in_source()


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.name))
def test_imports_point_downward(file: Path) -> None:
    own = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    floor = floors()
    for node in ast.walk(ast.parse(file.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("nearfar."):
                room = name.split(".")[1]
                assert room == own or floor[room] > floor[own], f"{own} imports {room}"


def test_files_are_small() -> None:
    sizes = sorted(len(file.read_text().splitlines()) for file in SOURCE.rglob("*.py"))
    assert sizes[-1] <= 250
    assert sizes[len(sizes) // 2] <= 120


def loaded(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_command_line_answers_without_torch() -> None:
    modules = loaded("from nearfar.cli import main; main(['list']); main(['--help'])")
    assert "torch" not in modules
    assert "numpy" not in modules


def test_the_loss_needs_torch_and_nothing_else_of_ours() -> None:
    modules = loaded("import nearfar; nearfar.info_nce")
    assert "torch" in modules
    heavy = {
        "kornia",
        "sklearn",
        "transformers",
        "lightning_fabric",
        "PIL",
        "rich",
        "pandas",
        "numba",
    }
    assert not heavy & modules
