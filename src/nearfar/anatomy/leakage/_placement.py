"""The placement gap: what it is worth to the loss that partners sit on the same device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.anatomy.leakage._devices import Encode, encode_on
from nearfar.anatomy.leakage._significance import sign_flip
from nearfar.anatomy.leakage._undisturbed import undisturbed
from nearfar.errors import NearfarError
from nearfar.loss import Temperature, info_nce
from nearfar.loss._ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The placement gap of one pipeline.

    Attributes:
        devices: How many.
        per_device: Rows on each; the fewest, where they differ.
        nats: Mean loss with the keys placed anew, less the mean loss as the pipeline places them.
        low: Lower end of its 95 % interval: two standard errors below.
        high: Upper end.
        p: Two-sided p-value of there being no gap, from a permutation test.
        loss: Mean loss as the pipeline places its keys, nats.
        rounds: Pairs of placements.
    """

    devices: int
    per_device: int
    nats: float
    low: float
    high: float
    p: float
    loss: float
    rounds: int


def placement_gap(
    encode: Encode,
    query_views: Tensor,
    key_views: Tensor,
    devices: int | None,
    temperature: float | Tensor | Temperature = 0.1,
    rounds: int = 40,
    *,
    encode_key: Encode | None = None,
    shuffle: bool = False,
    ids: Tensor | None = None,
    seed: int = 0,
) -> Gap:
    """Place the keys anew on the devices and see how much harder they are to find.

    Each round deals the items out to the devices, as a shuffling sampler does. Queries and keys are
    encoded there, and the loss is taken; then the keys alone are dealt out again and encoded, and
    it is taken again: the same views, weights and negatives. If the loss does not know where a key
    was encoded, the two placements are exchangeable and the mean difference is zero.

    Only the mean of many rounds is looked at: with statistics per device, the device of an item
    says nothing from one round to the next.

    Args:
        encode: (n, ...) to (n, D): what one device does with its rows. A module is encoded in
            training mode and left as it was; what else a function changes is its own affair.
        query_views: (N, ...) this rank's.
        key_views: (N, ...) row i the partner of query i.
        devices: Virtual devices, 2 or more, among which the batch is shared out in this process;
            their synchronised batch norms (SyncBatchNorm, `BatchNormOverRanks`) see all of it, any
            other layer one device's rows. None: the ranks of torch.distributed.
        temperature: Of the loss: InfoNCE one way, all other keys the negatives.
        rounds: Pairs of placements; 8 or more, or no p-value could be small.
        encode_key: Encodes the keys (a `MomentumEncoder`); by default ``encode``.
        shuffle: The pipeline itself encodes its keys in a random order (`nearfar.loss.shuffled`).
        ids: (N,) rows with equal ids are never each other's negatives.
        seed: Of the placements and of what is random in the encoder.

    Raises:
        NearfarError: Views that do not match, too few rows, rounds or devices.

    Example:
        >>> x = torch.randn(16, 4)
        >>> gap = placement_gap(torch.nn.Linear(4, 3), x, x + 0.1, devices=4, rounds=8)
        >>> abs(gap.nats) < 1e-5
        True
    """
    virtual = devices is not None
    ranks = Ranks(None if virtual else "auto")
    devices = devices if devices is not None else ranks.size
    counts = ranks.count(len(query_views), query_views.device)
    total = sum(counts)
    _check(query_views, key_views, devices, total, rounds, virtual=virtual)
    query, key = ranks.gather(query_views, counts), ranks.gather(key_views, counts)
    every = None if ids is None else ranks.gather(ids, counts)
    encode_key = encode if encode_key is None else encode_key
    generator = torch.Generator().manual_seed(seed)

    def dealt() -> Tensor:
        return torch.randperm(total, generator=generator).to(query.device)

    def loss(z: Tensor, keys: Tensor) -> Tensor:
        found = info_nce(z, keys, temperature=temperature, ids=every, group=None)
        return found.double().cpu()

    losses = []
    with undisturbed(encode, encode_key, seed=seed):
        for _ in range(rounds):
            home, away = dealt(), dealt()
            own = dealt() if shuffle else home
            z = encode_on(encode, query, home, devices, ranks)
            pair = [encode_on(encode_key, key, order, devices, ranks) for order in (own, away)]
            losses.append(torch.stack([loss(z, keys) for keys in pair]))
    placed, anew = torch.stack(losses).unbind(1)
    difference = anew - placed
    nats, error = float(difference.mean()), float(difference.std()) / rounds**0.5
    return Gap(
        devices=devices,
        per_device=total // devices,
        nats=nats,
        low=nats - 2 * error,
        high=nats + 2 * error,
        p=sign_flip(difference, seed=seed),
        loss=float(placed.mean()),
        rounds=rounds,
    )


def _check(
    query: Tensor, key: Tensor, devices: int, total: int, rounds: int, *, virtual: bool
) -> None:
    if len(query) != len(key):
        raise NearfarError(
            f"key_views has shape {tuple(key.shape)} but query_views has {tuple(query.shape)}; "
            "wanted one key for each query."
        )
    if devices < 2:
        asked = f"devices={devices}" if virtual else "devices=None, and there is one rank"
        raise NearfarError(f"{asked}: wanted 2 or more, to have somewhere else to place a key.")
    if total < 2 * devices:
        raise NearfarError(
            f"query_views holds {total} rows for {devices} devices; wanted 2 or more on each: a "
            "batch norm needs companions. Use a larger batch or fewer devices."
        )
    if rounds < 8:
        raise NearfarError(
            f"rounds={rounds}: wanted 8 or more; with fewer, no p-value is below 0.01."
        )
