"""What the documents show runs."""

from __future__ import annotations

import doctest
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from other_libraries import peer

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK_OR_HEADING = re.compile(r"^```python\n(.*?)^```$|^## ([^\n]*)", re.M | re.S)


def sections() -> dict[tuple[Path, str], list[tuple[int, str]]]:
    """The python blocks under each heading, with the number of lines above them."""
    found = defaultdict(list)
    for document in DOCUMENTS:
        text, heading = document.read_text(encoding="utf-8"), ""
        for match in BLOCK_OR_HEADING.finditer(text):
            heading = match[2] or heading
            if match[1]:
                found[document, heading].append((text[: match.start(1)].count("\n"), match[1]))
    return found


SECTIONS = sections()


# What another library warns of while it runs is its own; what nearfar or the page does is ours.
@pytest.mark.filterwarnings("ignore", "error:::nearfar", "error:::__main__")
@pytest.mark.parametrize(
    "section", SECTIONS, ids=lambda section: f"{section[0].name}: {section[1]}"
)
def test_blocks_of_a_section_run_in_order(
    section: tuple[Path, str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document, heading = section
    code = "".join(block for _, block in SECTIONS[section])
    for library in re.findall(r"^(?:>>> )?(?:from|import) (?!nearfar)(\w+)", code, re.M):
        peer(library)
    monkeypatch.chdir(tmp_path)
    if "runs/photos" in code:
        peer("jsonargparse")
        shutil.copytree(request.getfixturevalue("trained"), "runs/photos")
        for name in ("a.jpg", "b.jpg"):
            shutil.copy(request.getfixturevalue("shapes") / "disc" / "000.jpg", name)
    names: dict[str, Any] = {"__name__": "__main__"}
    for line, block in SECTIONS[section]:
        if block.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, names, heading, str(document), line)
            assert doctest.DocTestRunner().run(test, clear_globs=False).failed == 0
        else:
            exec(compile("\n" * line + block, document, "exec"), names)


def test_every_command_of_the_readme_exists() -> None:
    from nearfar.cli._main import commands

    lines = [line.split() for line in (ROOT / "README.md").read_text().splitlines()]
    named = {words[1] for words in lines if words[:1] == ["nearfar"]}
    assert named == {"train", "embed", "search", "evaluate", "list"}
    assert named <= commands().keys()
