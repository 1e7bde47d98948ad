"""InfoNCE between queries and keys."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._dense import contrast, logits, reduce, unit, working
from nearfar.loss._lean import pairs
from nearfar.loss._temperature import Temperature, as_temperature, current
from nearfar.loss._tiled import wins

Reduction = Literal["none", "sum", "mean"]
NegativeMode = Literal["unpaired", "paired"]


def info_nce(
    query: Tensor,
    positive_key: Tensor,
    negative_keys: Tensor | None = None,
    temperature: float | Tensor | Temperature = 0.1,
    reduction: Reduction = "mean",
    negative_mode: NegativeMode = "unpaired",
    *,
    symmetric: bool = False,
    in_batch: bool | None = None,
    ids: Tensor | None = None,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    decoupled: bool = False,
    normalize: bool = True,
) -> Tensor:
    """Cross-entropy of picking each query's key out of a crowd.

    Source: van den Oord et al. 2018 (arXiv 1807.03748), equation 4.

    Args:
        query: (N, D).
        positive_key: (N, D), row i the partner of query i.
        negative_keys: (M, D) shared by all queries (``unpaired``) or (N, M, D), each query's own
            (``paired``). With them, the other rows' keys are no negatives unless ``in_batch``.
        temperature: Divides the similarities: a number, a 0-dim tensor or a `Temperature`.
        reduction: ``none`` gives (N,), else ``sum`` or ``mean``.
        negative_mode: See ``negative_keys``.
        symmetric: The mean of both directions, keys also asking for their queries.
        in_batch: The other rows' keys are negatives; by default just without ``negative_keys``.
        ids: (N,) integers; rows with equal ids are never each other's negatives.
        weight: (N, N) weights >= 0 of in-batch keys as soft positives instead of the diagonal;
            rows (for the way back of ``symmetric``, columns) are scaled to sum to one. All keys
            stay candidates, so a row may be positive everywhere.
        mask: (N, N) bool, True where the in-batch key j may stand in the crowd of query i. A
            positive stays, whatever the mask says.
        bias: (N, N) added to the in-batch logits, after the division by the temperature.
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848, equation 5).
        normalize: Scale rows to length one first.

    Returns:
        At least float32; a scalar, or (N,) with ``reduction='none'``.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit, a row that is not finite, a query
            without any negative, an unknown ``reduction`` or ``negative_mode``.

    Example:
        >>> round(info_nce(torch.eye(2), torch.eye(2), temperature=1.0).item(), 4)
        0.3133
    """
    check.one_of("reduction", reduction, ("none", "sum", "mean"))
    check.one_of("negative_mode", negative_mode, ("unpaired", "paired"))
    check.matrix("query", query)
    check.matrix("positive_key", positive_key, query, "query")
    tau = current(temperature)
    own = unit if normalize else working
    q, k = own(query), own(positive_key)
    rows = len(q)
    extra = None
    if negative_keys is not None:
        if symmetric:
            raise NearfarError(
                "symmetric=True with negative_keys is not defined: the keys would need negatives "
                "of their own. Leave one out, or add two calls with the roles exchanged."
            )
        _check_negatives(negative_keys, query, negative_mode)
        extra = logits(q, own(negative_keys), tau)
    if in_batch is None:
        in_batch = negative_keys is None
    by_ids = weight is None and mask is None and bias is None
    if by_ids and in_batch and extra is None and wins(q, k):
        if ids is not None:
            check.integer_ids("ids", ids, query)
        return reduce(pairs(q, k, tau, ids, symmetric=symmetric, decoupled=decoupled), reduction)

    scores = logits(q, k, tau)
    diagonal = torch.eye(rows, dtype=torch.bool, device=q.device)
    for name, grid in (("weight", weight), ("mask", mask), ("bias", bias)):
        if grid is not None:
            check.grid(name, grid, scores)
    if bias is not None:
        check.additive("bias", bias)
        scores = scores + bias
    weights = diagonal.to(scores.dtype) if weight is None else _rows_to_one(weight, scores.dtype)
    positive = diagonal if weight is None else weights > 0
    allowed = torch.full_like(diagonal, in_batch)
    if mask is not None:
        check.boolean("mask", mask)
        allowed = allowed & mask
    if ids is not None:
        check.integer_ids("ids", ids, query)
        allowed = allowed & (ids[:, None] != ids)

    loss = _one_way(scores, weights, positive, allowed, extra, decoupled)
    if symmetric:
        back = weights if weight is None else _rows_to_one(weight.T, scores.dtype, "column")
        loss = (loss + _one_way(scores.T, back, positive.T, allowed.T, None, decoupled)) / 2
    return reduce(loss, reduction)


class InfoNCE(nn.Module):
    """`info_nce` as a module that owns its temperature.

    Args:
        temperature: A number or a `Temperature`.
        reduction: See `info_nce`; so are the others.

    Example:
        >>> loss = InfoNCE(Temperature(0.07, learnable=True))
        >>> loss(torch.eye(4), torch.eye(4)).ndim
        0
    """

    def __init__(
        self,
        temperature: float | Temperature = 0.1,
        reduction: Reduction = "mean",
        negative_mode: NegativeMode = "unpaired",
        *,
        symmetric: bool = False,
        in_batch: bool | None = None,
        decoupled: bool = False,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        check.one_of("reduction", reduction, ("none", "sum", "mean"))
        check.one_of("negative_mode", negative_mode, ("unpaired", "paired"))
        self.temperature = as_temperature(temperature)
        self.reduction: Reduction = reduction
        self.negative_mode: NegativeMode = negative_mode
        self.symmetric, self.in_batch = symmetric, in_batch
        self.decoupled, self.normalize = decoupled, normalize

    def forward(
        self,
        query: Tensor,
        positive_key: Tensor,
        negative_keys: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """See `info_nce`."""
        return info_nce(
            query,
            positive_key,
            negative_keys,
            self.temperature,
            self.reduction,
            self.negative_mode,
            symmetric=self.symmetric,
            in_batch=self.in_batch,
            ids=ids,
            weight=weight,
            mask=mask,
            bias=bias,
            decoupled=self.decoupled,
            normalize=self.normalize,
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, symmetric={self.symmetric}, backend='auto'"


def _one_way(
    scores: Tensor,
    weights: Tensor,
    positive: Tensor,
    allowed: Tensor,
    extra: Tensor | None,
    decoupled: bool,
) -> Tensor:
    negative = allowed & ~positive
    crowd = negative if decoupled else negative | positive
    if extra is not None:
        always = torch.ones_like(extra, dtype=torch.bool)
        scores = torch.cat([scores, extra], 1)
        weights = torch.cat([weights, torch.zeros_like(extra)], 1)
        crowd = torch.cat([crowd, always], 1)
    check.has_negative(crowd, needed=1 if decoupled else 2)
    return contrast(scores, weights, crowd)


def _rows_to_one(weight: Tensor, dtype: torch.dtype, line: str = "row") -> Tensor:
    weight = weight.to(dtype)
    sums = weight.sum(1, keepdim=True)
    if check.readable(weight):
        bad = ~((weight >= 0).all(1) & (sums[:, 0] > 0) & sums[:, 0].isfinite())
        if bool(bad.any()):
            raise NearfarError(
                f"weight {line} {int(bad.nonzero()[0])} is negative, not finite or all zero; "
                "wanted weights >= 0 with at least one positive partner in every row"
                " (and column, if symmetric)."
            )
    return weight / sums


def _check_negatives(negatives: Tensor, query: Tensor, mode: str) -> None:
    rows, dim = query.shape
    fits = negatives.ndim == 2 if mode == "unpaired" else negatives.shape[:1] == (rows,)
    wanted = f"(M, {dim})" if mode == "unpaired" else f"({rows}, M, {dim})"
    if negatives.ndim != (2 if mode == "unpaired" else 3) or not fits or negatives.shape[-1] != dim:
        raise NearfarError(
            f"negative_keys has shape {tuple(negatives.shape)}; wanted {wanted} for "
            f"negative_mode={mode!r}."
        )
    check.same_kind("negative_keys", negatives, query, "query")
    check.finite("negative_keys", negatives)
