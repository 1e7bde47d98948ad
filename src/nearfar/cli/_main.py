"""From words to a command. Nothing heavy is imported before the command is known."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

from nearfar.errors import NearfarError, did_you_mean


def commands() -> dict[str, str]:
    """Every command with the first line of its file's docstring."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if not file.stem.startswith("_"):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[file.stem] = text.partition("\n")[0]
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 1 an error of the input, 2 an error of the words."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Where a letter cannot be shown, another stands in for it, and no training ends over it.
        sys.stdout.reconfigure(errors="replace")
    words = list(sys.argv[1:] if argv is None else argv)
    known = commands()
    if not words or words[0] in ("-h", "--help"):
        print(_overview(known))
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"nearfar {version('nearfar')}")
        return 0
    name, *rest = words
    if name not in known:
        hint = did_you_mean(name, known)
        print(
            f"nearfar: there is no command {name!r}.{hint}\n\n{_overview(known)}", file=sys.stderr
        )
        return 2
    try:
        result: int = importlib.import_module(f"nearfar.cli.{name}").command(rest)
        return result
    except (NearfarError, OSError) as error:
        print(f"nearfar {name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if str(error.name).startswith("nearfar"):
            raise
        print(
            f"nearfar {name}: the package {error.name!r} is not installed. "
            "pip install 'nearfar[all]' brings everything.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"nearfar {name}: interrupted.", file=sys.stderr)
        return 130


def _overview(known: dict[str, str]) -> str:
    lines = [f"  {name:<10}{summary}" for name, summary in known.items()]
    return "\n".join(
        [
            "nearfar: embeddings in which what belongs together lies near.",
            "",
            "usage: nearfar COMMAND ...    (nearfar COMMAND --help says more)",
            "",
            *lines,
            "",
            "Begin with: nearfar demo",
        ]
    )
