"""Does an embedding move when its companions change?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nearfar.anatomy.leakage._undisturbed import undisturbed
from nearfar.errors import NearfarError


def coupling(
    encoder: Callable[[Tensor], Tensor], x: Tensor, *, probes: int = 8, seed: int = 0
) -> float:
    """How far an embedding moves when all its companions in the batch are exchanged.

    The first half of ``x`` is encoded; then one of its rows again, at the same place among the
    second half's rows. The encoder is in training mode, with the same buffers and the same random
    numbers (dropout) both times, and is left as it was.

    Args:
        encoder: (n, ...) to (n, D).
        x: (N, ...) different inputs, N >= 4.
        probes: Rows of the first half that are tried, one forward pass each.
        seed: Of the encoder's random numbers.

    Returns:
        The mean distance moved, in mean distances between different rows of the batch. 0: no
        embedding depends on its companions, and they can betray nothing. Anything else is a
        possibility and no proof: `placement_gap` says whether it is of use.

    Raises:
        NearfarError: Too few rows, two equal halves, no row for each input.

    Example:
        >>> coupling(torch.nn.Linear(3, 2), torch.randn(8, 3))
        0.0
    """
    half = len(x) // 2
    if half < 2 or probes < 1:
        raise NearfarError(
            f"x holds {len(x)} rows, and probes={probes}; wanted 4 rows or more, half of them to "
            "take the place of the others, and 1 probe or more."
        )
    first, second = x[:half], x[half : 2 * half]
    if torch.equal(first, second):
        raise NearfarError(
            "x repeats itself: its halves are equal, and no companion would change. Wanted "
            "different inputs."
        )
    with undisturbed(encoder, seed=seed) as rewind:

        def encode(rows: Tensor) -> Tensor:
            rewind()
            z = encoder(rows)
            if z.ndim != 2 or len(z) != len(rows):
                raise NearfarError(
                    f"encoder makes {tuple(z.shape)} of {len(rows)} rows; wanted a vector for each."
                )
            return z.double()

        z = encode(first)
        moved = []
        for row in torch.linspace(0, half - 1, min(probes, half)).round().long().tolist():
            elsewhere = second.clone()
            elsewhere[row] = first[row]
            moved.append((encode(elsewhere)[row] - z[row]).norm())
    # A collapsed encoder tells no rows apart, and does not move either.
    apart = torch.pdist(z).mean().clamp_min(torch.finfo(z.dtype).tiny)
    return float(torch.stack(moved).mean() / apart)
