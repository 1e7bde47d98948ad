"""Who plays: queries, their partners, and everybody whom they must be told from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict, Unpack

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import Temperature, info_nce
from nearfar.loss import _check as check

# Similarities that are in memory at a time: 16 MiB of float32.
ENTRIES = 4 * 2**20


class Who(TypedDict, total=False):
    """Who else plays, and how; what every function of a game takes by name.

    Attributes:
        ids: (N,) integers; rows with equal ids are no negatives.
        negatives: (M, D) further negatives of every query, such as a memory bank's.
        negative_ids: (M,) integers.
        mask: (N, N + M) bool, True where a key may be a negative.
        normalize: Scale rows to length one first; True unless said otherwise.
    """

    ids: Tensor | None
    negatives: Tensor | None
    negative_ids: Tensor | None
    mask: Tensor | None
    normalize: bool


@dataclass(frozen=True)
class Stripe:
    """Some queries against everybody.

    Attributes:
        rows: Which queries.
        own: (n, 1) the partners' places among the keys.
        positive: (n,) similarities with the partners.
        negative: (n, M) similarities with the keys, -inf where a key is no negative.
    """

    rows: slice
    own: Tensor
    positive: Tensor
    negative: Tensor


@dataclass(frozen=True)
class Players:
    """A game, checked and scaled to length one.

    Attributes:
        query: (N, D), at least float32.
        key: (M, D); the first N are the queries' partners.
        temperature: Divides the similarities.
        ids: (N,) and (M,) integers, or None; equal ids are never each other's negatives.
        mask: (N, M) bool, or None; True where a key may be a negative.
    """

    query: Tensor
    key: Tensor
    temperature: float
    ids: tuple[Tensor, Tensor] | None
    mask: Tensor | None

    @staticmethod
    def of(
        query: Tensor,
        key: Tensor,
        temperature: float | Tensor | Temperature,
        **who: Unpack[Who],
    ) -> Players:
        """Check what the loss checks, then prepare.

        Args:
            query: (N, D).
            key: (N, D), row i the partner of query i; every other row is a negative.
            temperature: A number, a 0-dim tensor or a `Temperature`.
            **who: See `Who`.

        Raises:
            NearfarError: A word that `Who` does not have, and what `info_nce` refuses: shapes,
                dtypes, rows that are not finite, a query without any negative, a temperature that
                is no positive number.
        """
        for word in who:
            check.one_of("argument", word, tuple(Who.__annotations__))
        ids, negatives = who.get("ids"), who.get("negatives")
        negative_ids, mask = who.get("negative_ids"), who.get("mask")
        normalize = who.get("normalize", True)
        with torch.no_grad():
            # Plays the game once and forgets it: what the loss refuses is refused here.
            info_nce(
                query.detach(),
                key.detach(),
                negatives,
                temperature,
                in_batch=True,
                ids=ids,
                negative_ids=negative_ids,
                mask=None if mask is None else mask[:, : len(key)],
                normalize=normalize,
                group=None,
            )
        keys = key if negatives is None else torch.cat([key, negatives.to(key)])
        if mask is not None and mask.shape != (len(query), len(keys)):
            raise NearfarError(
                f"mask has the shape {tuple(mask.shape)}; wanted a row for each of "
                f"{len(query)} queries and a column for each of {len(keys)} keys and negatives."
            )
        pair = None
        if ids is not None:
            strangers = ids.new_empty(0)
            if negatives is not None:
                strangers = ids.new_full((len(negatives),), int(ids.min()) - 1)
                strangers = strangers if negative_ids is None else negative_ids.to(ids)
            pair = (ids, torch.cat([ids, strangers]))
        number = temperature() if isinstance(temperature, Temperature) else temperature
        rows = _rows(query, normalize), _rows(keys, normalize)
        return Players(*rows, float(number), pair, mask)

    def stripes(self) -> Iterator[Stripe]:
        """All queries, as many at a time as fit."""
        height = max(1, ENTRIES // len(self.key))
        for top in range(0, len(self.query), height):
            rows = slice(top, min(top + height, len(self.query)))
            similarity = self.query[rows] @ self.key.T
            own = torch.arange(rows.start, rows.stop, device=similarity.device)[:, None]
            positive = similarity.gather(1, own).squeeze(1)
            if self.ids is not None:
                similarity.masked_fill_(self.ids[0][rows, None] == self.ids[1], -torch.inf)
            if self.mask is not None:
                similarity.masked_fill_(~self.mask[rows], -torch.inf)
            similarity.scatter_(1, own, -torch.inf)
            yield Stripe(rows, own, positive, similarity)


def _rows(x: Tensor, normalize: bool) -> Tensor:
    x = x.detach()
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return torch.nn.functional.normalize(x, dim=1) if normalize else x


def share(name: str, value: float) -> None:
    """A share of a whole.

    Raises:
        NearfarError: It is not above 0 and at most 1.
    """
    if not 0 < value <= 1:
        raise NearfarError(f"{name}={value}: wanted a share, 0 < {name} <= 1, such as 0.01.")
