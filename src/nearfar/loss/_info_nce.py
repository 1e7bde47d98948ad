"""InfoNCE between queries and keys."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from torch import Tensor

from nearfar.errors import check_range
from nearfar.loss import _check as check
from nearfar.loss._conflicts import compatible
from nearfar.loss._engine import Products, check_engine, short
from nearfar.loss._negatives import Explicit
from nearfar.loss._numbers import working
from nearfar.loss._one_positive import one_positive
from nearfar.loss._ranks import Group
from nearfar.loss._shard import Shard
from nearfar.loss._small import one_node
from nearfar.loss._temperature import Temperature, inverse, scale_of
from nearfar.loss._unit import HIGHEST, unit
from nearfar.loss._weights import Form, weighted
from nearfar.loss.push import Backend, Crowd, Game

Reduction = Literal["none", "sum", "mean"]
REDUCTIONS = ("none", "sum", "mean")
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
    negative_ids: Tensor | None = None,
    weight: Tensor | None = None,
    form: Form = "out",
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    similarity_margin: float | None = None,
    margin: float = 0.0,
    hardness: float = 0.0,
    tau_plus: float = 0.0,
    decoupled: bool = False,
    normalize: bool = True,
    group: Group = "auto",
    backend: Backend = "auto",
    products: Products = "exact",
) -> Tensor:
    """Cross-entropy of picking each query's key out of a crowd.

    Source: van den Oord et al. 2018 (arXiv 1807.03748), equation 4. With several ranks, N stands
    for this rank's rows and N_all for all ranks' (in the order of ranks); alone they are the same.

    Args:
        query: (N, D).
        positive_key: (N, D), row i the partner of query i.
        negative_keys: (M, D) shared by all queries (``unpaired``) or (N, M, D), each query's own
            (``paired``). With them, the other rows' keys are no negatives unless ``in_batch``.
            They are this rank's own; `gather` them first to share them.
        temperature: Divides the similarities: a number, a 0-dim tensor or a `Temperature`.
        reduction: ``none`` gives (N,), else ``sum`` or ``mean``.
        negative_mode: See ``negative_keys``.
        symmetric: The mean of both directions, keys also asking for their queries.
        in_batch: The other rows' keys are negatives; by default just without ``negative_keys``.
        ids: (N,) integers; rows with equal ids are never each other's negatives.
        negative_ids: (M,) or (N, M) integers; a negative key with its query's id is left out.
        weight: (N, N_all) weights >= 0 of in-batch keys as soft positives instead of the diagonal,
            a tensor or a torch sparse tensor; rows (for the way back of ``symmetric``, columns) are
            scaled to sum to one. All keys stay candidates, so a row may be positive everywhere.
        form: With ``weight``: ``out`` pulls towards the weighted mean of the positives (Khosla et
            al. 2020, arXiv 2004.11362, equation 2), ``in`` towards whichever is nearest, the mean
            over positives inside the logarithm (its equation 3; with P positives a row, log P
            more than MIL-NCE, which has their sum: Miech et al. 2020, arXiv 1912.06430, equation
            1).
        mask: (N, N_all) bool, True where the in-batch key j may stand in the crowd of query i. A
            positive stays, whatever the mask says.
        bias: (N, N_all) added to the in-batch logits, after the division by the temperature, in
            their number format.
        similarity_margin: A negative that is more similar to the query than its positive by more
            than this is taken for a false negative and left out (Zhang et al. 2025, Qwen3
            Embedding, arXiv 2506.05176, equation 2, with 0.1).
        margin: Taken from the positive's similarity (Wang et al. 2018, arXiv 1801.05599).
        hardness: Weigh negative j by exp(hardness s_ij): Robinson et al. 2021 (arXiv 2010.04592),
            equation 4, with its ``beta``.
        tau_plus: The chance that a negative is a positive in truth; it is taken out of the crowd's
            mean (Chuang et al. 2020, arXiv 2007.00224, equation 8, for rows of length one: no
            mean is below exp(-1 / temperature)).
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848, equation 5).
        normalize: Scale rows to length one first.
        group: ``auto``: all ranks' keys are candidates as soon as torch.distributed is initialised;
            ``ring``: the same, with one rank's keys at a time in memory; None: this rank's alone;
            a process group: its ranks'. ``mean`` and ``sum`` are of all ranks' rows, and the mean
            of all ranks' gradients (what DistributedDataParallel takes) is their gradient.
        backend: ``dense`` stores the similarities, ``tiled`` and ``triton`` (CUDA) do not; ``auto``
            takes the best that works here, and says so in the debug log of ``nearfar.loss``.
        products: ``bf16`` multiplies matrices in bfloat16, where a shift of the logits allows it:
            nearly twice as fast, gradients within 1 % at temperatures from 0.1 on (the error grows
            as 1 / temperature: logits are rounded to 8 bits). Up to 1,024 rows on a CPU there is
            nothing to win, and products stay exact.

    Returns:
        At least float32; a scalar, or (N,) with ``reduction='none'``.

    Raises:
        NearfarError: Shapes, dtypes or devices that do not fit, a row that is not finite, a query
            without any negative, options that exclude each other, an unknown word.

    Example:
        >>> import torch
        >>> round(info_nce(torch.eye(2), torch.eye(2), temperature=1.0).item(), 4)
        0.3133
    """
    if in_batch is None:
        in_batch = negative_keys is None
    plain = (
        in_batch
        and negative_keys is negative_ids is weight is mask is bias is None
        and similarity_margin is None
        and not (margin or hardness or tau_plus)
        and (negative_mode, form) == ("unpaired", "out")
        and reduction in REDUCTIONS
    )
    if plain and short(query, positive_key, ids, group, backend, products):
        small = one_node(
            info_nce,
            query,
            positive_key,
            inverse(temperature, query),
            both=symmetric,
            ids=ids,
            decoupled=decoupled,
            normalize=normalize,
            reduction=reduction,
        )
        if small is not None:
            return small
    check.one_of("reduction", reduction, REDUCTIONS)
    check.one_of("negative_mode", negative_mode, ("unpaired", "paired"))
    check.one_of("form", form, ("out", "in"))
    check_engine(group, backend, products)
    check.matrix("query", query)
    check.matrix("positive_key", positive_key, query, "query")
    if ids is not None:
        check.integer_ids("ids", ids, query)
    shard = Shard(query, group)
    for name, grid in (("weight", weight), ("mask", mask), ("bias", bias)):
        if grid is not None:
            check.grid(name, grid, (shard.rows, shard.total), query)
    if mask is not None:
        check.boolean("mask", mask)
    if bias is not None:
        check.additive("bias", bias)
        bias = bias.to(working(query).dtype)
    check_range(0, math.inf, "[)", hardness=hardness)
    check_range(0, 1, "[)", tau_plus=tau_plus)
    check_range(-math.inf, math.inf, "[)", margin=margin, similarity_margin=similarity_margin)
    compatible(
        symmetric=symmetric,
        negatives=negative_keys is not None or not in_batch,
        estimated=bool(hardness or tau_plus),
        weight=weight is not None,
        bias=bias is not None,
        learned_bias=bias is not None and bias.requires_grad,
        margin=bool(margin),
        similarity_margin=similarity_margin is not None,
        grid=mask is not None or bias is not None,
        negative_ids=negative_ids is not None,
        no_ids=ids is None or negative_keys is None,
        ranks=not shard.ranks.alone,
        ring=shard.ranks.ring,
    )
    own = unit if normalize else working
    q, k, scale = own(query), own(positive_key), scale_of(temperature, query)
    explicit = None
    if negative_keys is not None:
        explicit = Explicit.of(negative_keys, negative_mode, ids, negative_ids, query, own)
    crowd = Crowd() if weight is not None and ids is None else shard.strangers(ids)
    game = Game(
        query=q,
        key=k,
        scale=scale,
        crowd=replace(crowd, mask=mask, bias=bias),
        both=symmetric,
        highest=HIGHEST if normalize else None,
        bf16=products == "bf16",
    )
    others = shard.total - 1 if in_batch or weight is not None else 0
    others += 0 if explicit is None else explicit.keys.shape[-2]
    check.several(shard.total > 0 and others > 0)
    if weight is not None:
        each = weighted(
            game,
            weight,
            shard,
            explicit,
            backend,
            in_batch=in_batch,
            decoupled=decoupled,
            form=form,
        )
        loss = shard.reduce(each, reduction)
    else:
        loss = one_positive(
            game,
            shard,
            explicit,
            backend,
            in_batch=in_batch,
            decoupled=decoupled,
            margin=margin,
            similarity_margin=similarity_margin,
            hardness=hardness,
            tau_plus=tau_plus,
            reduction=reduction,
        )
    return check.finite_loss(loss, scale, query=query, positive_key=positive_key)
