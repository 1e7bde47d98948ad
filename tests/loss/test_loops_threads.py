"""Loops run on PyTorch's own threads: each does its share, and all shares are done."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nearfar.loss import loops

pytest.importorskip("numba")
import numba
import numpy as np

from nearfar.loss.loops._threads import on_threads

pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@numba.njit
def _note(thread: int, threads: int, seen: np.ndarray, nothing: None, number: float) -> None:
    seen[thread, 0] += 1
    seen[thread, 1] = threads
    seen[thread, 2] = int(number) if nothing is None else -1


@numba.njit(nogil=True)
def _noted(threads: int) -> np.ndarray:
    seen = np.zeros((threads, 3), np.int64)
    on_threads(threads, _note, (seen, None, np.float32(7.0)))
    return seen


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_thread_is_told_who_it_is(threads: int) -> None:
    assert _noted(threads).tolist() == [[1, threads, 7]] * threads


def test_several_may_ask_at_once() -> None:
    with ThreadPoolExecutor(4) as pool:
        for seen in pool.map(_noted, [3] * 64):
            assert seen.tolist() == [[1, 3, 7]] * 3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_however_many_there_are_all_rows_are_done(threads: int) -> None:
    from nearfar.loss.loops import rows

    torch.set_num_threads(threads)
    x = torch.randn(101, 7)
    out, length = torch.full_like(x, torch.nan), torch.full((101, 1), torch.nan)
    rows.unit(x, 1e-12, out, length)
    torch.testing.assert_close(out, torch.nn.functional.normalize(x))


def test_without_such_threads_loops_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("nearfar.loss.loops._threads.FOUND", False)
    loops._process.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG, logger="nearfar.loss"):
            assert not loops.ready(torch.empty(0), 2**40)
    finally:
        loops._process.cache_clear()
    assert "OpenMP" in caplog.text
