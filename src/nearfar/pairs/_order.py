"""The order of batches and the randomness of views, as pure functions of (seed, step).

Nothing about either is ever saved: a killed run that resumes at step t draws exactly what the
uninterrupted run drew at step t.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

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
    """Seed torch from these numbers inside the block; restore its random state afterwards."""
    # Of several GPUs, the one in use.
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        torch.manual_seed(mix(*numbers))
        yield
