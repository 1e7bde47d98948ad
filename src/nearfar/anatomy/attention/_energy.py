"""Where each head's query looks and how sharply: attention as a game of energies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.anatomy._players import ENTRIES
from nearfar.anatomy.attention._heads import group_size, spread
from nearfar.errors import NearfarError
from nearfar.loss._numbers import exact, working


@dataclass(frozen=True, kw_only=True)
class AttentionEnergy:
    """Attention weights are p_j = exp(-E_j / T) / Z of the energies E_j = -q . k_j.

    All tensors are (..., heads, queries); free_energy = energy - temperature * entropy. A row that
    may look at nobody is zero everywhere: leave it out of means by `empty`.

    Attributes:
        temperature: T = 1 / scale, sqrt(dim) by default.
        free_energy: F = -T log Z = -T logsumexp_j(-E_j / T), so p_j = exp((F - E_j) / T).
        energy: Mean of the energies under the weights, sum_j p_j E_j.
        entropy: H of the weights, in nats.
        effective: exp(H), how many keys the query looks at.
        keys: How many keys it may look at, integers; under a causal mask rows differ.
        highest: The greatest logit, -E_j / T.
    """

    temperature: float
    free_energy: Tensor
    energy: Tensor
    entropy: Tensor
    effective: Tensor
    keys: Tensor
    highest: Tensor

    @property
    def log_keys(self) -> Tensor:
        """log of the number of keys, 0 for none.

        Logits of zero give F = -T log_keys and H = log_keys, so that F + T log_keys and
        H - log_keys compare rows of different sizes.
        """
        return self.keys.clamp_min(1).to(self.entropy.dtype).log()

    @property
    def empty(self) -> Tensor:
        """True where a row's mask leaves no key."""
        return self.keys == 0


@torch.no_grad()
def attention_energy(
    query: Tensor,
    key: Tensor,
    *,
    scale: float | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
) -> AttentionEnergy:
    """What softmax(scale q . k) does, row by row; the weights of all rows are never in memory.

    The attention of Vaswani et al. 2017 (arXiv 1706.03762, equation 1) as a Boltzmann distribution
    (Ramsauer et al. 2020, arXiv 2008.02217).

    Args:
        query: (..., heads, queries, dim).
        key: (..., key heads, keys, dim); a number of heads that divides the queries', consecutive
            heads of which share one (grouped heads).
        scale: Multiplies q . k, 1 / temperature; 1 / sqrt(dim) by default.
        mask: Broadcasts to (..., heads, queries, keys), as torch's scaled_dot_product_attention
            takes it: bool, True where a key may be looked at, or floats that are added to the
            logits (and to the energies, -T times). Minus infinity, and what is below half of the
            format's lowest number (transformers' way of saying it), leave a key out.
        causal: Query i sees the keys 0 ... i.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit, a scale that is not positive.

    Example:
        >>> flat = attention_energy(torch.zeros(1, 3, 4), torch.randn(1, 3, 4), causal=True)
        >>> flat.keys.tolist(), flat.effective.round(decimals=4).tolist()
        ([[1, 2, 3]], [[1.0, 2.0, 3.0]])
    """
    group_size(query, key, "key")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if not 0 < scale < math.inf:
        raise NearfarError(f"scale={scale}: wanted a positive, finite number, 1 / temperature.")
    query, key = working(query), working(key)
    heads, rows, columns = *query.shape[-3:-1], key.shape[-2]
    batch = torch.broadcast_shapes(query.shape[:-3], key.shape[:-3])  # type: ignore[no-untyped-call]
    if mask is not None:
        if mask.dtype != torch.bool and not mask.is_floating_point():
            raise NearfarError(f"mask has dtype {mask.dtype}; wanted torch.bool: mask.bool().")
        mask = spread("mask", mask, (*batch, heads, rows, columns), query)
    height = max(1, ENTRIES // (math.prod(batch) * heads * columns))
    parts = []
    for top in range(0, rows, height):
        at = slice(top, min(top + height, rows))
        scores = _logits(query[..., at, :] * scale, key)
        if mask is not None:
            scores = _masked(scores, mask[..., at, :])
        if causal:
            place = torch.arange(columns, device=query.device)
            own = torch.arange(at.start, at.stop, device=query.device)
            scores.masked_fill_(place > own[:, None], -torch.inf)
        parts.append(_look(scores, 1 / scale))
    found = {name: torch.cat([part[name] for part in parts], -1) for name in parts[0]}
    return AttentionEnergy(temperature=1 / scale, **found)


def _logits(query: Tensor, key: Tensor) -> Tensor:
    """(..., heads, n, keys) of some rows; heads that share keys are one matrix product."""
    packed = query.reshape(*query.shape[:-3], key.shape[-3], -1, query.shape[-1])
    with exact(query):
        scores: Tensor = packed @ key.transpose(-2, -1)
    return scores.view(*scores.shape[:-3], *query.shape[-3:-1], key.shape[-2])


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return scores.masked_fill_(~mask, -torch.inf)
    scores = scores + mask
    return scores.masked_fill_(mask <= torch.finfo(mask.dtype).min / 2, -torch.inf)


def _look(scores: Tensor, temperature: float) -> dict[str, Tensor]:
    out = scores == -torch.inf
    keys = (~out).sum(-1)
    empty = keys == 0
    log = scores.logsumexp(-1).masked_fill_(empty, 0.0)
    weight = (scores - log[..., None]).exp_()
    entropy = torch.special.entr(weight).sum(-1)
    highest = scores.amax(-1).masked_fill_(empty, 0.0)
    mean = weight.mul_(scores.masked_fill_(out, 0.0)).sum(-1)
    return {
        "free_energy": -temperature * log,
        "energy": -temperature * mean,
        "entropy": entropy,
        "effective": entropy.exp().masked_fill_(empty, 0.0),
        "keys": keys,
        "highest": highest,
    }
