"""The audit: both measurements, a verdict and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nearfar.anatomy.leakage._coupling import coupling
from nearfar.anatomy.leakage._devices import Encode, batch_norms, over_ranks
from nearfar.anatomy.leakage._placement import Gap, placement_gap
from nearfar.anatomy.leakage._significance import holm
from nearfar.errors import NearfarError
from nearfar.loss import Temperature, gather

# A gap counts when chance would make one as large in fewer than one audit of a hundred, and when it
# is more than rounding: float32 losses differ by 1e-6 when sums are taken in another order.
LEVEL = 0.01
ROUNDING = 1e-3
# So do embeddings on a GPU.
STILL = 1e-5


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit found.

    Attributes:
        coupling: See `coupling`; 0 makes leakage impossible.
        gaps: The placement gap for each number of devices, p-values corrected by `holm`.
        batch_norms: Batch norms in the model; 0 where it is no module but a function.
        synchronised: Those of them with the statistics of all ranks.
        leaks: Some gap is there, beyond chance and rounding.
        verdict: One sentence.
        mend: What to do.
    """

    coupling: float
    gaps: tuple[Gap, ...]
    batch_norms: int
    synchronised: int
    leaks: bool
    verdict: str
    mend: str


def audit(
    encode: Encode,
    query_views: Tensor,
    key_views: Tensor,
    devices: int | Sequence[int] | None = 8,
    temperature: float | Tensor | Temperature = 0.1,
    rounds: int = 40,
    *,
    encode_key: Encode | None = None,
    shuffle: bool = False,
    ids: Tensor | None = None,
    seed: int = 0,
) -> Audit:
    """Test whether batch statistics give away which key belongs to which query.

    Args:
        encode: The encoder with its head: what the loss compares. It is left as it was.
        query_views: See `placement_gap`; 4 rows or more in all.
        key_views: See `placement_gap`.
        devices: One number of virtual devices, or several to test; None: the ranks of
            torch.distributed. All of them share out the same batch.
        temperature: See `placement_gap`.
        rounds: See `placement_gap`.
        encode_key: See `placement_gap`.
        shuffle: See `placement_gap`.
        ids: See `placement_gap`.
        seed: See `placement_gap`.

    Raises:
        NearfarError: See `placement_gap` and `coupling`; no number of devices at all.

    Example:
        >>> x = torch.randn(16, 4)
        >>> audit(torch.nn.Linear(4, 3), x, x + 0.1, devices=4, rounds=8).leaks
        False
    """
    several: Sequence[int | None] = devices if isinstance(devices, Sequence) else [devices]
    if not several:
        raise NearfarError("devices=[]: wanted a number of devices, or several.")
    views = gather(query_views) if devices is None else query_views
    encoders = dict.fromkeys((encode, encode_key or encode))
    moved = max(coupling(one, views, seed=seed) for one in encoders)
    if devices is None:
        # Functions that shuffle find other companions on every rank.
        own = torch.tensor([moved], dtype=torch.float64, device=views.device)
        moved = float(gather(own).max())
    raw = [
        placement_gap(
            encode,
            query_views,
            key_views,
            number,
            temperature,
            rounds,
            encode_key=encode_key,
            shuffle=shuffle,
            ids=ids,
            seed=seed,
        )
        for number in several
    ]
    corrected = holm([gap.p for gap in raw])
    gaps = tuple(replace(gap, p=p) for gap, p in zip(raw, corrected, strict=True))
    found = [gap for gap in gaps if gap.p < LEVEL and abs(gap.nats) > ROUNDING]
    norms = batch_norms(encode)
    place = "where the shuffle puts it" if shuffle else "on its query's device"
    without = isinstance(encode, nn.Module) and not norms
    verdict, mend = _words(moved, gaps, found, place, without=without)
    return Audit(
        coupling=moved,
        gaps=gaps,
        batch_norms=len(norms),
        synchronised=sum(over_ranks(layer) for layer in norms),
        leaks=bool(found),
        verdict=verdict,
        mend=mend,
    )


def _words(
    moved: float, gaps: Sequence[Gap], found: Sequence[Gap], place: str, *, without: bool
) -> tuple[str, str]:
    if found:
        worst = max(found, key=lambda gap: abs(gap.nats))
        easier = "easier" if worst.nats > 0 else "harder"
        return (
            f"Batch statistics leak: a key is {abs(worst.nats):.3f} nats {easier} to find when it "
            f"is encoded {place} ({_numbers(worst)}).",
            "Give batch norms the statistics of all devices (nearfar.encoders.synchronised), "
            "shuffle keys that take no gradient (nearfar.loss.shuffled), or use layer norm.",
        )
    if moved <= STILL:
        because = "The model has no batch norm, and no" if without else "No"
        return (
            f"{because} embedding moves when its companions change: nothing can leak.",
            "Nothing.",
        )
    least = min(gaps, key=lambda gap: gap.p)
    return (
        "No leak found: embeddings depend on their companions, but it makes no difference to the "
        f"loss which device a key is encoded on ({_numbers(least)}).",
        "Nothing; test again where the rows on a device get fewer.",
    )


def _numbers(gap: Gap) -> str:
    return (
        f"{gap.devices} devices of {gap.per_device} rows, gap {gap.nats:+.3f} nats, 95 % interval "
        f"{gap.low:+.3f} to {gap.high:+.3f}, p = {gap.p:.2g}"
    )
