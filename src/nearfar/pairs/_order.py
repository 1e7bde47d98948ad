"""The order of batches and the randomness of views, as pure functions of (seed, step).

Nothing about either is ever saved: a killed run that resumes at step t draws exactly what the
uninterrupted run drew at step t.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def mix(*numbers: int) -> int:
    """A 63-bit seed from several integers, without the correlations of a plain sum."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def batch_rows(items: int, batch_size: int, seed: int, step: int) -> Tensor:
    """The items of one step's batch.

    Every epoch is a fresh permutation, cut into whole batches; the rest of it sits out.

    Args:
        items: Number of items in the data.
        batch_size: At most ``items``.
        seed: The run's seed.
        step: Number of the step, from 0.

    Returns:
        (batch_size,) distinct row numbers.

    Example:
        >>> batch_rows(4, 2, seed=0, step=0).tolist() == batch_rows(4, 2, seed=0, step=0).tolist()
        True
    """
    epoch, place = divmod(step, items // batch_size)
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    order = torch.randperm(items, generator=generator)
    return order[place * batch_size : (place + 1) * batch_size]


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed torch, numpy and Python from these numbers inside the block; restore them afterwards."""
    # Of several GPUs, the one in use.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    seed = mix(*numbers)
    # Models of other libraries draw from these two, such as wav2vec 2.0 the masks of its training.
    numpys, pythons = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpys)
        random.setstate(pythons)
