"""What the documents show runs."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples(document: Path) -> None:
    assert doctest.testfile(str(document), module_relative=False).failed == 0


def test_every_command_of_the_readme_exists() -> None:
    from nearfar.cli._main import commands

    lines = [line.split() for line in (ROOT / "README.md").read_text().splitlines()]
    named = {words[1] for words in lines if words[:1] == ["nearfar"]}
    assert named == {"train", "embed", "search", "evaluate"}
    assert named <= commands().keys()
