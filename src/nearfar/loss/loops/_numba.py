# mypy: ignore-errors
"""How loops are compiled, and how tensors come in and out of them."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import numba
import numpy as np
import torch
from torch import Tensor

# Sums may be taken in any order; nothing is said of NaN and infinity, which must come through.
_LOOSE = {"reassoc", "contract", "nsz"}
ZERO, ONE = np.float32(0), np.float32(1)


def _sources() -> str:
    """A name for all that a loop is made of, which goes into the name of the file it is kept in.

    numba itself looks at the loop's own file alone, and would go on with what it made of an earlier
    version of the others.
    """
    folder = files("nearfar.loss")
    made_of = [*folder.joinpath("loops").iterdir(), folder.joinpath("_numbers.py")]
    texts = {one.name: one.read_bytes() for one in made_of if one.name.endswith(".py")}
    return sha256(b"".join(texts[name] for name in sorted(texts))).hexdigest()[:8]


_SOURCES = _sources()


def run(loop, *words):
    words = (bare(x) if isinstance(x, Tensor) else x for x in words)
    return loop(torch.get_num_threads(), *words)


def bare(x: Tensor | None) -> np.ndarray | None:
    """A tensor's memory as loops take it, rows of numbers."""
    if x is None:
        return None
    x = x.detach().view(-1, x.shape[-1])
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


def compiled(loop):
    """Compiled once on this machine, if there is a folder to keep it in."""
    loop.__qualname__ += f"-{_SOURCES}"
    words = {"nogil": True, "fastmath": _LOOSE, "error_model": "numpy"}
    try:
        return numba.njit(loop, cache=True, **words)
    except RuntimeError:
        return numba.njit(loop, **words)


def inner(loop):
    """Called by what is compiled."""
    return numba.njit(loop, fastmath=_LOOSE, error_model="numpy")
