"""What the processes that share a batch decide and fail at together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss._ranks import Ranks


class SharedError(NearfarError):
    """What ends a training in all of its processes: the first one says it for all."""


@contextmanager
def nobody_missing() -> Iterator[None]:
    """Within the block, a collective that fails says what that means: another process has ended."""
    try:
        yield
    except RuntimeError as error:
        # Of gloo's own errors the text is all that tells them from others.
        if Ranks().alone or not (isinstance(error, dist.DistBackendError) or "gloo" in str(error)):
            raise
        raise SharedError(
            "Another process of this training has ended: it was killed, or says above why. The "
            "last good checkpoint stays; give the same command again to go on from there."
        ) from error


def anywhere(here: bool, device: torch.device) -> bool:
    """Whether something is so in any process; all of them ask, and all get the same answer.

    Args:
        here: Whether it is so in this one.
        device: Where the processes' collectives work.
    """
    if Ranks().alone:
        return here
    flag = torch.tensor(float(here), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def of_the_first(x: Tensor) -> Tensor:
    """The first process's ``x``, in all processes."""
    if not Ranks().alone:
        dist.broadcast(x, 0)
    return x


def disband() -> None:
    """End what processes do together: from here on no loss and no batch norm waits for another."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def finite(numbers: Mapping[str, float], step: int) -> None:
    """Stop where a training has gone astray; its numbers are the same in all processes.

    Args:
        numbers: Losses, or what else tells, by name.
        step: After which they are so, from 1.
    """
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise SharedError(
                f"The {name} is {number} at step {step}. The last good checkpoint stays; lower "
                "--lr, set --clip 1, or raise --temperature, and start over with --fresh."
            )


def length(modules: Iterable[nn.Module]) -> float:
    """Of all parameters, as one vector: no number as soon as one of them is none."""
    parts = [x.detach().float().norm() for module in modules for x in module.parameters()]
    return float(torch.stack(parts).norm())
