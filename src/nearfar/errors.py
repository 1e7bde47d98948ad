"""What went wrong, what was wanted, and how to mend it."""

from __future__ import annotations

import math
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


def check_range(
    least: float, most: float = math.inf, ends: str = "[]", /, **numbers: float | None
) -> None:
    """Refuse a number that makes no sense.

    Args:
        least: The lowest that does.
        most: The highest.
        ends: As in mathematics: ``[`` and ``]`` include them, ``(`` and ``)`` do not.
        numbers: By the names of their arguments; None is one that nobody has named.

    Raises:
        NearfarError: A number outside.

    Example:
        >>> check_range(0, 1, "(]", crop=0.2, labels_fraction=2.0)
        Traceback (most recent call last):
        nearfar.errors.NearfarError: labels_fraction=2.0: wanted 0 < labels_fraction <= 1.
    """
    for name, number in numbers.items():
        if number is None:
            continue
        above = least < number if ends[0] == "(" else least <= number
        below = number < most if ends[1] == ")" else number <= most
        if not (above and below):
            low, high = ("<" if end in "()" else "<=" for end in ends)
            wanted = f"{least} {low} {name} {high} {most}"
            if most == math.inf and high == "<=":
                wanted = f"more than {least}" if low == "<" else f"{least} or more"
            raise NearfarError(f"{name}={number}: wanted {wanted}.")
