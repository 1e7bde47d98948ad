"""Progress bars: on standard error, and only where somebody looks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def tracked(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    *,
    show: bool = True,
) -> Iterable[Item]:
    """The items, with a bar that goes away at the end.

    Args:
        items: What to go through.
        what: What is being done.
        total: How many they are, if ``len`` cannot say.
        show: Whether anybody wants a bar.
    """
    console = Console(stderr=True)
    hidden = not show or not console.is_terminal
    return track(items, what, total, console=console, transient=True, disable=hidden)
