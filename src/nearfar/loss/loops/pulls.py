# mypy: ignore-errors
"""Over rows that others draw to themselves, and of which a part may still lie on its side."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from nearfar.loss.loops._entries import turn
from nearfar.loss.loops._line import LINE
from nearfar.loss.loops._numba import ONE, compiled, inner, run
from nearfar.loss.loops._threads import on_threads


def draw(
    to: Tensor,
    share: Tensor | None,
    weight: Tensor,
    other: Tensor,
    lying: Tensor | None = None,
    *,
    fresh: bool = False,
) -> None:
    """``to_i = share_i to_i + weight_i other_i + lying_.i``.

    Args:
        to: (n, d).
        share: (n,); None: ones.
        weight: (n,).
        other: (n, d).
        lying: (d, n); None: zeros.
        fresh: Nothing is in ``to`` yet.
    """
    run(_draw, to, share, weight, other, lying, True if fresh else None, None, None)


def attract(
    to: Tensor,
    weight: Tensor,
    sums: Tensor,
    label: Tensor,
    itself: Tensor,
    lying: Tensor | None = None,
) -> None:
    """``to_i += weight_l (sums_l - itself_i) + lying_.i``, l the label of row i.

    Args:
        to: (n, d).
        weight: (l,).
        sums: (l, d).
        label: (n,), counted from 0.
        itself: (n, d).
        lying: (d, n); None: zeros.
    """
    run(_draw, to, None, weight, sums, lying, None, label, itself)


@inner
def _upright(lying, top, last, room):
    """Up to sixteen rows."""
    width = room.shape[1]
    whole = width - width % LINE if last - top == LINE else 0
    for j in range(0, whole, LINE):
        turn(lying, j, top, room, 0, j)
    for i in range(top, last):
        for j in range(whole, width):
            room[i - top, j] = lying[j, i]


@inner
def _draw_part(thread, threads, to, share, weight, other, lying, fresh, label, itself):
    height, width = to.shape
    room = np.zeros((LINE, width), np.float32)
    end = height * (thread + 1) // threads
    for top in range(height * thread // threads, end, LINE):
        last = min(top + LINE, end)
        if lying is not None:
            _upright(lying, top, last, room)
        for i in range(top, last):
            mine = ONE if share is None else share[0, i]
            k = i if label is None else label[0, i]
            theirs = weight[0, k]
            for j in range(width):
                entry = theirs * (other[k, j] if itself is None else other[k, j] - itself[i, j])
                if lying is not None:
                    entry += room[i - top, j]
                if fresh is None:
                    entry += mine * to[i, j]
                to[i, j] = entry


@compiled
def _draw(threads, *words):
    on_threads(threads, _draw_part, words)
