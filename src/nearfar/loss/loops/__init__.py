"""Loops compiled by numba, where it is there.

PyTorch goes over its operands once for every operation, and large ones do not stay in the cache.
Here an entry is loaded once, and all is done to it that is to be done. All of them are imported by
those who have asked `ready`.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

LOG = logging.getLogger("nearfar.loss")
# Entries of a matrix from which compiled loops pay for being loaded.
LEAST = 1024 * 1024


def ready(like: Tensor, entries: int) -> bool:
    """Whether loops are to serve a float32 matrix of so many entries, and the rows that meet in it.

    Args:
        like: A tensor of the kind that comes in and out.
        entries: How many.
    """
    if entries < LEAST or not like.is_cpu or like.dtype != torch.float32:
        return False
    # A forked child has none of the threads that its parent had.
    return os.getpid() == _process()


@cache
def _process() -> int | None:
    """Whose threads loops run on; None: there is no numba, or there are no such threads."""
    if find_spec("numba") is None:
        LOG.debug("numba is not installed: pip install 'nearfar[fast]' makes large batches faster")
        return None
    try:
        from nearfar.loss.loops import _threads
    except ImportError as error:  # numba is particular about the version of numpy
        LOG.warning("numba is installed and cannot be imported, so it is left out: %s", error)
        return None
    if not _threads.FOUND:
        LOG.debug("numba is left out: this PyTorch's threads are not OpenMP's")
        return None
    return os.getpid()
