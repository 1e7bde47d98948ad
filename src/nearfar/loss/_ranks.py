"""Many ranks: one global batch, one value everywhere, gradients that DDP's mean makes exact.

Each rank holds some rows of the batch. It plays its own rows against everybody's keys; the value is
the mean over all rows of all ranks, and what it sends back is scaled so that the mean over ranks,
which DistributedDataParallel takes of all gradients, is the gradient of that value.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from nearfar.errors import NearfarError

Group = dist.ProcessGroup | Literal["auto", "ring"] | None


def check_group(group: Group) -> None:
    """Refuse a word that is not known."""
    if isinstance(group, str) and group not in ("auto", "ring"):
        raise NearfarError(
            f"group={group!r}: wanted 'auto' (all ranks), 'ring' (all ranks, one rank's keys "
            "at a time), None (this rank alone) or a torch.distributed process group."
        )


_AVAILABLE = dist.is_available()


def initialised() -> bool:
    """There may be other ranks."""
    # What `dist.is_initialized` asks, by a call less: a small batch waits for each.
    return _AVAILABLE and dist.group.WORLD is not None


class Ranks:
    """The ranks that a loss plays with; without torch.distributed, one.

    Args:
        group: ``auto``: all ranks, as soon as torch.distributed is initialised. ``ring``: the same,
            but the keys are never gathered: one rank's at a time come by. None: this rank alone.
            A process group: its ranks.
    """

    def __init__(self, group: Group = "auto") -> None:
        check_group(group)
        there = group is not None and initialised()
        self.group = None if isinstance(group, str) else group
        self.size = dist.get_world_size(self.group) if there else 1
        self.rank = dist.get_rank(self.group) if there else 0
        self.ring = group == "ring" and self.size > 1

    @property
    def alone(self) -> bool:
        """There is nobody else."""
        return self.size == 1

    def peer(self, rank: int) -> int:
        """The global number of a rank of the group, counted round and round."""
        rank %= self.size
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def count(self, rows: int, device: torch.device) -> list[int]:
        """How many rows each rank holds."""
        if self.alone:
            return [rows]
        own = torch.tensor([rows], device=device)
        every = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(every, own, group=self.group)
        return [int(n) for n in every]

    def gather(self, x: Tensor, counts: list[int]) -> Tensor:
        """All ranks' rows, in the order of ranks; gradients go home and are added up there."""
        if self.alone:
            return x
        if not x.requires_grad:
            return _all_gather(x, counts, self)
        out: Tensor = _Gather.apply(x, counts, self)  # type: ignore[no-untyped-call]
        return out

    def mean(self, x: Tensor) -> Tensor:
        """The mean of all ranks' tensors of this shape, without a graph."""
        if self.alone:
            return x
        total = x.detach().clone().contiguous()
        dist.all_reduce(total, group=self.group)
        return total / self.size

    def scatter(self, x: Tensor, counts: list[int]) -> Tensor:
        """(ranks, own rows): what every rank found for the rows that are this rank's."""
        if self.alone:
            return x[None]
        out: Tensor = _Exchange.apply(x, counts, self)  # type: ignore[no-untyped-call]
        return out.view(self.size, counts[self.rank])

    def total(self, loss: Tensor, count: Tensor | int, *, mean: bool) -> Tensor:
        """The sum over all ranks, or the mean over ``count`` rows of all ranks, on every rank."""
        if self.alone:
            return loss / count if mean else loss
        out: Tensor = _Total.apply(loss, count, mean, self)  # type: ignore[no-untyped-call]
        return out


def gather(x: Tensor, group: Group = "auto") -> Tensor:
    """All ranks' rows, in the order of ranks, with exact gradients.

    Ranks may hold different numbers of rows. In the backward pass the gradients that all ranks have
    for a row are added up on the rank that holds it.

    Args:
        x: (n, ...) this rank's rows; the other dimensions are the same on all ranks.
        group: See `info_nce`.

    Returns:
        (sum of all n, ...); ``x`` itself where there is one rank.

    Example:
        >>> gather(torch.eye(2)).shape
        torch.Size([2, 2])
    """
    ranks = Ranks(group)
    return ranks.gather(x, ranks.count(len(x), x.device))


def _all_gather(x: Tensor, counts: list[int], ranks: Ranks) -> Tensor:
    # Collectives want equal shapes; short shards are filled up.
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    every = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(every, padded, group=ranks.group)
    return torch.cat([part[:n] for part, n in zip(every, counts, strict=True)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], ranks: Ranks) -> Tensor:
        ctx.counts, ctx.ranks = counts, ranks
        return _all_gather(x.detach(), counts, ranks)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        # Differentiable, as second derivatives go through it.
        return _Exchange.apply(grad, ctx.counts, ctx.ranks).sum(0), None, None  # type: ignore[no-untyped-call]


class _Exchange(torch.autograd.Function):
    """(all rows, ...) here to (ranks, own rows, ...): everybody's version of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], ranks: Ranks) -> Tensor:
        ctx.counts, ctx.ranks = counts, ranks
        own = counts[ranks.rank]
        out = x.new_empty(ranks.size * own, *x.shape[1:])
        _all_to_all(out, x, [own] * ranks.size, counts, ranks)
        return out.view(ranks.size, own, *x.shape[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Return.apply(grad, ctx.counts, ctx.ranks), None, None  # type: ignore[no-untyped-call]


class _Return(torch.autograd.Function):
    """The way back: (ranks, own rows, ...) here to (all rows, ...)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int], ranks: Ranks) -> Tensor:
        ctx.counts, ctx.ranks = counts, ranks
        out = x.new_empty(sum(counts), *x.shape[2:])
        _all_to_all(out, x.flatten(0, 1), counts, [counts[ranks.rank]] * ranks.size, ranks)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Exchange.apply(grad, ctx.counts, ctx.ranks), None, None  # type: ignore[no-untyped-call]


def _all_to_all(out: Tensor, x: Tensor, take: list[int], give: list[int], ranks: Ranks) -> None:
    dist.all_to_all_single(out, x.contiguous(), take, give, group=ranks.group)


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, count: Tensor | int, mean: bool, ranks: Ranks) -> Tensor:
        both = torch.stack(
            [loss.detach().double(), torch.as_tensor(count, device=loss.device).double()]
        )
        dist.all_reduce(both, group=ranks.group)
        rows = both[1] if mean else torch.ones_like(both[1])
        # DistributedDataParallel divides by the number of ranks.
        ctx.factor = ranks.size / rows
        return (both[0] / rows).to(loss.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return grad * ctx.factor.to(grad.dtype), None, None, None
