"""Hand a sentence encoder over to sentence-transformers: nearfar export RUN --to FOLDER"""

from __future__ import annotations

from collections.abc import Sequence


def export(run: str, to: str | None = None) -> int:
    """Write a folder that sentence-transformers opens, and that encodes the same.

    Args:
        run: A run folder of a translation model with a transformer.
        to: The folder; by default ``sentence-transformers`` in the run folder.
    """
    from nearfar.cli import _show as show
    from nearfar.cli._export import to_sentence_transformers
    from nearfar.model import load

    to = to or f"{run}/sentence-transformers"
    to_sentence_transformers(load(run), to)
    show.out().print(f"{to}: SentenceTransformer({to!r}).encode([...]) gives this model's vectors")
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar export``."""
    from nearfar.cli._parse import call

    return call(export, "nearfar export", words)
