"""List the recipes, each in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nearfar.recipes import recipes


def command(words: Sequence[str]) -> int:
    """``nearfar list``: needs no torch and answers at once."""
    if words:
        print("usage: nearfar list", file=sys.stderr)
        return 0 if words[0] in ("-h", "--help") else 2
    for recipe in recipes().values():
        print(f"{recipe.name:<12}{recipe.summary}")
    return 0
