"""Fixtures of the losses' tests."""

from __future__ import annotations

import pytest

from nearfar.loss.push import _passes


@pytest.fixture(params=["PyTorch", "numba"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who goes over tiles, whatever their size."""
    name: str = request.param
    if name == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(_passes, "LEAST", 0 if name == "numba" else 2**62)
    return name
