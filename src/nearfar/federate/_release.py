"""What a client gives to the bank: embeddings of items, or sums that hide single ones."""

from __future__ import annotations

import secrets
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.model import Model
from nearfar.pairs import LonePairs, Pairs, Side

_CHUNK = 256


def release(
    model: Model,
    pairs: Pairs,
    share: Literal["keys", "sums"],
    *,
    count: int,
    group: int,
    noise: float,
    device: torch.device,
) -> Tensor:
    """Unit vectors of the client's items, or of sums of them, with noise.

    With noise, each item enters one vector at most, with length one (so nothing is left to clip),
    which is what the ledger counts on: views are of the side that shows single items. The noise
    comes from the operating system, not from the run's seed: who knew the seed could take it off
    again.

    Args:
        model: The average that came with the task: all clients' entries are one model's.
        pairs: The client's own, `LonePairs` if there is noise; a random view of each item is
            encoded.
        share: ``keys`` or ``sums``.
        count: Vectors, at most.
        group: Items in a sum; a client with fewer items gives nothing.
        noise: Standard deviation; 0 for none.
        device: Where the model is.

    Returns:
        (M, D) float32 on the CPU, of length one again, which is free: it looks at noisy vectors.
    """
    side: Side = "key"
    if noise:
        assert isinstance(pairs, LonePairs)
        side = pairs.alone
    items = torch.randperm(len(pairs))
    if share == "sums":
        count = min(count, len(items) // group)
        vectors = _encode(model, pairs, items[: count * group], side, device)
        vectors = vectors.view(count, group, -1).sum(1) if count else vectors
    else:
        vectors = _encode(model, pairs, items[:count], side, device)
    if noise and len(vectors):
        generator = torch.Generator().manual_seed(secrets.randbits(63))
        vectors = vectors + noise * torch.randn(vectors.shape, generator=generator)
    return functional.normalize(vectors)


@torch.no_grad()
def _encode(model: Model, pairs: Pairs, rows: Tensor, side: Side, device: torch.device) -> Tensor:
    was_training = model.training
    model.eval()
    parts = [
        functional.normalize(model(getattr(pairs.draw(part, device), side)).float()).cpu()
        for part in torch.split(rows, _CHUNK)
        if len(part)
    ]
    model.train(was_training)
    return torch.cat(parts) if parts else torch.empty(0, (model.head or model.encoder).dim)
