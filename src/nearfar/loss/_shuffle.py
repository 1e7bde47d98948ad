"""MoCo's shuffled batch norm: keys are encoded on another device than their queries."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor

from nearfar.loss._ranks import Group, Ranks


@torch.no_grad()
def shuffled(
    encoder: Callable[[Tensor], Tensor],
    x: Tensor,
    group: Group = "auto",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Encode keys in a random order over the ranks, and bring them back.

    A batch norm then sees a query and its key among different companions, and the companions no
    longer tell which key belongs to which query (He et al. 2020, MoCo, section 3.3). The order is
    drawn anew at every call; where there is one rank, this is ``encoder(x)``.

    No gradient comes back: this is for keys that take none, those of a `MomentumEncoder`. For keys
    that learn, synchronise the batch norms instead (`nearfar.encoders.synchronised`).

    Args:
        encoder: (n, ...) to (n, D), row by row; it may mix rows by their batch's statistics.
        x: (n, ...) this rank's rows; n may differ between ranks. For the time of the call every
            rank holds all ranks' inputs, and encodes an even part of them.
        group: See `info_nce`.
        generator: Where the order is drawn from; by default torch's random state. Every rank draws,
            and the first one's order counts.

    Returns:
        (n, D), row i the key of ``x[i]``.

    Example:
        >>> shuffled(torch.nn.Linear(3, 2), torch.eye(3)).requires_grad
        False
    """
    ranks = Ranks(group)
    if ranks.alone:
        return encoder(x)
    counts = ranks.count(len(x), x.device)
    order = torch.randperm(sum(counts), generator=generator).to(x.device)
    dist.broadcast(order, ranks.peer(0), group=ranks.group)
    keys = seated(encoder, ranks.gather(x.detach(), counts), order, ranks)
    first = sum(counts[: ranks.rank])
    return keys[first : first + counts[ranks.rank]]


def seated(
    encoder: Callable[[Tensor], Tensor], every: Tensor, order: Tensor, ranks: Ranks
) -> Tensor:
    """Encode with row ``order[j]`` on seat j, the seats shared out evenly over the ranks.

    Args:
        encoder: (n, ...) to (n, D).
        every: (N, ...) all ranks' rows, on every rank.
        order: (N,) a permutation, the same on every rank.
        ranks: Who takes part.

    Returns:
        (N, D) in the order of ``every``, on every rank.
    """
    seats = order.tensor_split(ranks.size)
    z = ranks.gather(encoder(every[seats[ranks.rank]]), [len(rows) for rows in seats])
    return in_order(z, order)


def in_order(z: Tensor, order: Tensor) -> Tensor:
    """Rows that came in the order ``order``, put back."""
    back = torch.empty_like(z)
    back[order] = z
    return back
