"""What went wrong, what was wanted, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NearfarError(ValueError):
    """Bad input; the message names the argument, what it got, what it wanted and the mend."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion that starts with a space, or nothing.

    Example:
        >>> did_you_mean("imagse", ["images", "digits"])
        " Did you mean 'images'?"
    """
    close = get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
