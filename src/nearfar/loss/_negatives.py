"""Negatives that are given by the user, and guesses about negatives that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._numbers import exact, working
from nearfar.loss.push import Backend, Crowd, Game, lse, push


@dataclass(frozen=True)
class Explicit:
    """Negatives beside the batch.

    Attributes:
        keys: (M, D) shared by all queries, or (N, M, D), each query's own.
        ids: (N,) the queries' ids, or None.
        key_ids: (M,) or (N, M) the negatives' ids, or None.
    """

    keys: Tensor
    ids: Tensor | None
    key_ids: Tensor | None

    @staticmethod
    def of(
        keys: Tensor,
        mode: str,
        ids: Tensor | None,
        key_ids: Tensor | None,
        query: Tensor,
        own: Callable[[Tensor], Tensor],
    ) -> Explicit:
        """Checked, and brought to the queries' length by ``own``.

        Raises:
            NearfarError: A shape, dtype or device that does not fit, or a row that is not finite.
        """
        rows, dim = query.shape
        shape = f"(M, {dim})" if mode == "unpaired" else f"({rows}, M, {dim})"
        fits = keys.ndim == 2 if mode == "unpaired" else keys.ndim == 3 and len(keys) == rows
        if not fits or keys.shape[-1] != dim or not keys.is_floating_point():
            raise NearfarError(
                f"negative_keys has shape {tuple(keys.shape)} and dtype {keys.dtype}; wanted "
                f"{shape}, floating point, for negative_mode={mode!r}."
            )
        check.same_device("negative_keys", keys, query)
        check.finite("negative_keys", keys)
        if key_ids is not None:
            check.integer_ids("negative_ids", key_ids, keys)
        # A bank keeps float32 for queries of any format.
        return Explicit(own(keys).to(working(query).dtype), ids, key_ids)

    def blank(self) -> Explicit:
        """The same, all similarities zero."""
        return replace(self, keys=torch.zeros_like(self.keys[..., :1]))

    def push(self, game: Game, backend: Backend) -> Tensor:
        """Logsumexp over each query's negatives, (N,)."""
        crowd = Crowd(ceiling=game.crowd.ceiling)
        if self.keys.ndim == 2:
            if self.ids is not None and self.key_ids is not None:
                crowd = replace(crowd, row_id=self.ids, column_id=self.key_ids)
            return push(replace(game, key=self.keys, crowd=crowd, both=False), backend)[0]
        with exact(game.query):
            similarity = torch.einsum("nd,nmd->nm", game.query, self.keys)
        scores = similarity * game.scale
        if self.ids is not None and self.key_ids is not None:
            scores = scores.masked_fill(self.ids[:, None] == self.key_ids, -torch.inf)
        if crowd.ceiling is not None:
            scores = scores.masked_fill(similarity > crowd.ceiling[:, None], -torch.inf)
        return lse(scores, 1)


Sides = tuple[Tensor, Tensor | None]


def estimated(
    crowd: Callable[[float | None], Sides],
    positive: Tensor,
    scale: Tensor,
    *,
    hardness: float,
    tau_plus: float,
) -> Sides:
    """The crowd as it would be without false negatives and with harder true ones.

    Robinson et al. 2021, equation 4: negatives are weighed by exp(hardness s_ij), with mean one.
    Chuang et al. 2020, equation 8: the share ``tau_plus`` of the mean is a positive's, and goes.

    Args:
        crowd: Logsumexp of all negatives, of each query and each key, of logits times a factor;
            of zeros for None, which counts them.
        positive: (N,) logits of the positives.
        scale: 1 / temperature; no negative's logit is below -scale.
        hardness: Zero weighs all the same.
        tau_plus: Zero believes all.
    """
    count = crowd(None)
    for number in count:
        if number is not None:
            check.somebody(number)
    sides = crowd(1.0 + hardness)
    base = crowd(hardness) if hardness else count
    found = [
        None
        if side is None or own is None or number is None
        else _debiased(side - own, positive, scale, tau_plus) + number
        for side, own, number in zip(sides, base, count, strict=True)
    ]
    assert found[0] is not None
    return found[0], found[1]


def _debiased(mean: Tensor, positive: Tensor, scale: Tensor, tau_plus: float) -> Tensor:
    """log of (exp(mean) - tau_plus exp(positive)) / (1 - tau_plus), at least exp(-scale)."""
    if not tau_plus:
        return mean
    share = torch.as_tensor(tau_plus, dtype=mean.dtype, device=mean.device)
    gone = (positive - mean + share.log()).clamp_max(0.0).exp()
    left = torch.log1p(-gone.clamp_max(1 - torch.finfo(mean.dtype).eps)) - torch.log1p(-share)
    return torch.maximum(torch.where(gone < 1, mean + left, -torch.inf), -scale)
