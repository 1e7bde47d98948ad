"""Progress bars: on standard error, and only where somebody looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
_shown = False


def tracked(
    items: Iterable[Item],
    what: str,
    total: int | None = None,
    *,
    show: bool = True,
) -> Iterator[Item]:
    """The items, with a bar that goes away at the end; inside another bar there is none.

    Args:
        items: What to go through.
        what: What is being done.
        total: How many they are, if ``len`` cannot say.
        show: Whether anybody wants a bar.
    """
    global _shown
    console = Console(stderr=True)
    if _shown or not show or not console.is_terminal:
        yield from items
        return
    _shown = True
    try:
        yield from track(items, what, total, console=console, transient=True)
    finally:
        _shown = False
