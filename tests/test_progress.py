"""Bars: shown to somebody who looks, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from nearfar import progress


def test_a_bar_inside_a_bar_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    real = progress.track

    def counted(items: Any, what: str, *rest: Any, **more: Any) -> Any:
        shown.append(what)
        return real(items, what, *rest, **more)

    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    monkeypatch.setattr(progress, "track", counted)
    pairs = [
        (a, b) for a in progress.tracked(range(2), "outer") for b in progress.tracked("xy", "inner")
    ]
    assert pairs == [(0, "x"), (0, "y"), (1, "x"), (1, "y")]
    assert shown == ["outer"]
    assert list(progress.tracked([1], "next")) == [1]
    assert shown == ["outer", "next"]


def test_no_bar_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: False))
    monkeypatch.delattr(progress, "track")
    assert list(progress.tracked(range(3), "unseen")) == [0, 1, 2]
