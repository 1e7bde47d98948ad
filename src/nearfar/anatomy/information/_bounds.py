"""Mutual information from scores: a bound with a ceiling, and its companions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nearfar.anatomy.information._result import Estimate, Negatives, conclude
from nearfar.errors import NearfarError


def info_nce_bound(
    loss: Tensor | float, candidates: int, *, negatives: Negatives = "marginal"
) -> Estimate:
    """log K - L: what a loss says about mutual information.

    With negatives drawn from the marginal, I(X;Y) >= log K - L for any critic (van den Oord et al.
    2018, section 2.3; Poole et al. 2019, equation 12), and log K - L <= log K. Otherwise the
    estimate is named as what it is.

    Args:
        loss: Nats; (N,) of each anchor (``reduction='none'``) for an interval, or one number.
        candidates: K, which counts the positive: N for in-batch InfoNCE and for either way of
            CLIP, 2N - 1 for NT-Xent (2N views without the anchor itself), M + 1 for M negatives.
        negatives: How they are drawn: ``marginal``, at random from all items; ``hard``, for their
            similarity; ``label-aware``, never of the anchor's label or id; ``queue``, kept from
            earlier steps, when the encoder was another one.

    Raises:
        NearfarError: Fewer than 2 candidates, a loss that is not finite or of another shape, an
            unknown word.

    Example:
        >>> found = info_nce_bound(2.0, candidates=1024)
        >>> round(found.nats, 3), round(found.bits, 3), found.saturated
        (4.931, 7.115, False)
        >>> info_nce_bound(2.0, candidates=1024, negatives="hard").is_mutual_information
        False
    """
    if candidates < 2:
        raise NearfarError(
            f"candidates={candidates}: wanted 2 or more. It counts the positive and its negatives."
        )
    each = torch.as_tensor(loss).detach()
    if each.ndim > 1 or not each.numel():
        raise NearfarError(
            f"loss has shape {tuple(each.shape)}; wanted (N,), a loss for each anchor, or one "
            "number. Flatten it."
        )
    ceiling = math.log(candidates)
    each = ceiling - each.double()
    return conclude(
        "InfoNCE", each.mean(), each.reshape(-1), negatives, bound=True, ceiling=ceiling
    )


def nwj(joint: Tensor, product: Tensor, *, negatives: Negatives = "marginal") -> Estimate:
    """E_p[s] - E_q[e^s] / e: a lower bound whose variance grows as e^I.

    Nguyen, Wainwright & Jordan 2010; Poole et al. 2019 (arXiv 1905.06922), equation 7. It is tight
    at s = 1 + log p(y|x) / p(y), and very low for a critic that is off by a constant.

    Args:
        joint: (N,) scores of anchors with their partners.
        product: (N, M) scores of the same anchors with M negatives each.
        negatives: See `info_nce_bound`.

    Raises:
        NearfarError: Shapes that do not fit, an estimate that is not finite, an unknown word.

    Example:
        >>> found = nwj(torch.ones(4), torch.ones(4, 3))  # the best critic of independent pairs
        >>> found.nats, found.is_bound
        (0.0, True)
    """
    joint, product = _scores(joint, product)
    each = joint - (product - 1).exp().mean(1)
    return conclude("NWJ", each.mean(), each, negatives, bound=True)


def donsker_varadhan(
    joint: Tensor, product: Tensor, *, negatives: Negatives = "marginal"
) -> Estimate:
    """E_p[s] - log E_q[e^s]: tight for any constant, but the log of a sampled mean is no bound.

    Donsker & Varadhan 1983, as in MINE (Belghazi et al. 2018, arXiv 1801.04062, equation 10): the
    logarithm of the average over few negatives is too small on average, and the estimate too large.

    Args:
        joint: (N,) scores of anchors with their partners.
        product: (N, M) scores of the same anchors with M negatives each.
        negatives: See `info_nce_bound`.

    Raises:
        NearfarError: Shapes that do not fit, an estimate that is not finite, an unknown word.

    Example:
        >>> found = donsker_varadhan(torch.full((4,), 7.0), torch.full((4, 3), 7.0))
        >>> found.nats, found.is_bound
        (0.0, False)
    """
    return _log_of_mean("Donsker-Varadhan", *_scores(joint, product), negatives)


def smile(
    joint: Tensor, product: Tensor, clip: float = 5.0, *, negatives: Negatives = "marginal"
) -> Estimate:
    """E_p[s] - log E_q[clip(e^s, e^-clip, e^clip)]: little variance, and it can overshoot.

    Song & Ermon 2020 (arXiv 1910.06222), equation 16, with their ``tau`` as ``clip``.

    Args:
        joint: (N,) scores of anchors with their partners.
        product: (N, M) scores of the same anchors with M negatives each.
        clip: Scores of negatives are held within [-clip, clip]; infinity gives Donsker-Varadhan.
        negatives: See `info_nce_bound`.

    Raises:
        NearfarError: Shapes that do not fit, an estimate that is not finite, an unknown word, a
            clip that is not positive.

    Example:
        >>> smile(torch.full((4,), 9.0), torch.full((4, 3), 9.0)).nats  # 9 - 5: no bound
        4.0
    """
    if not clip > 0:
        raise NearfarError(f"clip={clip}: wanted a positive number, 5 in the paper.")
    joint, product = _scores(joint, product)
    return _log_of_mean("SMILE", joint, product.clamp(-clip, clip), negatives)


def _log_of_mean(formula: str, joint: Tensor, product: Tensor, negatives: Negatives) -> Estimate:
    level = product.flatten().logsumexp(0) - math.log(product.numel())
    # The first order of what an anchor adds: its own score, and its share of the mean.
    influence = joint - (product - level).exp().mean(1)
    return conclude(formula, joint.mean() - level, influence, negatives, bound=False)


def _scores(joint: Tensor, product: Tensor) -> tuple[Tensor, Tensor]:
    fits = joint.ndim == 1 and product.ndim == 2 and len(product) == len(joint)
    if not fits or not product.numel():
        raise NearfarError(
            f"joint has shape {tuple(joint.shape)} and product {tuple(product.shape)}; wanted (N,) "
            "and (N, M): of each anchor, the score with its partner and those with M negatives."
        )
    return joint.detach().double(), product.detach().double()
