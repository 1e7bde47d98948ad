"""What is done to a tile between two products; in one pass where numba is installed.

PyTorch goes over a tile once for every operation, numba's compiled loops (`_fused`) once in all.
Both give the same, up to the last bits.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from nearfar.loss.push._game import Game

LOG = logging.getLogger("nearfar.loss")
# Entries of a matrix from which compiled passes pay for being loaded.
LEAST = 1024 * 1024


def fused(game: Game) -> Any:
    """The module of compiled passes, None where they are not at hand or not worth it."""
    fit = game.query.is_cpu and game.query.dtype == torch.float32
    return _fused() if fit and len(game.query) * len(game.keys) >= LEAST else None


@cache
def _fused() -> Any:
    if find_spec("numba") is None:
        LOG.debug('numba is not installed: pip install "nearfar[fast]" makes large batches faster')
        return None
    try:
        from nearfar.loss.push import _fused as found
    except ImportError as error:  # numba is particular about the version of numpy
        LOG.warning("numba is installed and cannot be imported, so it is left out: %s", error)
        return None
    return found
