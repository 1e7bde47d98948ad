"""An estimate of information: how much, how sure, and what it may be called."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check

Negatives = Literal["marginal", "hard", "label-aware", "queue"]

# Two-sided 95 % of a normal distribution.
_Z = 1.96
_DRAWN = {
    "hard": "hard negatives",
    "label-aware": "label-aware negatives",
    "queue": "negatives from a queue of earlier embeddings",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What was found, in nats.

    Attributes:
        nats: The estimate; `bits` is the same in bits.
        low: Lower end of its 95 % interval, or None if a single number was given. The interval is
            normal, over anchors: it says how far chance moves this estimate with this critic, not
            how far below the mutual information a critic or a small crowd keeps it.
        high: The upper end.
        name: What it is, in words, to be printed beside the number.
        is_bound: Its expectation cannot exceed the mutual information, whatever the critic.
        saturated: Above `ceiling` - 1, where the crowd and not the data limits it. A warning: an
            estimate that is not saturated may still be a nat too small (8 nats and 4,096
            candidates: 6.9 with the best critic).
        ceiling: The most that the formula can give, or None if it has no such limit.
        is_mutual_information: False where negatives are not drawn from the marginal; the number
            must not be called mutual information then.
    """

    nats: float
    low: float | None
    high: float | None
    name: str
    is_bound: bool
    saturated: bool
    ceiling: float | None
    is_mutual_information: bool

    @property
    def bits(self) -> float:
        """nats / ln 2."""
        return self.nats / math.log(2)


def conclude(
    formula: str,
    nats: Tensor,
    influence: Tensor,
    negatives: Negatives,
    *,
    bound: bool,
    ceiling: float | None = None,
) -> Estimate:
    """Name an estimate and give it an interval.

    Args:
        formula: Its short name.
        nats: 0-dim.
        influence: (N,) what each anchor adds to ``nats``, up to a constant; their standard
            deviation over sqrt(N) is the standard error.
        negatives: How negatives are drawn.
        bound: A lower bound if they are drawn from the marginal.
        ceiling: The most it can be.
    """
    check.one_of("negatives", negatives, ("marginal", *_DRAWN))
    value = nats.item()
    if not math.isfinite(value):
        raise NearfarError(
            f"The estimate is {value}; wanted finite scores whose exponentials can be averaged. "
            "Look for NaN or infinity in the scores or losses."
        )
    marginal = negatives == "marginal"
    if marginal:
        kind = "a lower bound on" if bound else "an estimator, not a bound, of"
        name = f"{formula}: {kind} the mutual information"
    else:
        name = (
            f"{formula} with {_DRAWN[negatives]}: not mutual information; at best it bounds "
            "I(X;Y) + KL(p(y) || q(y)), q the law of the negatives"
            if bound
            else f"{formula} with {_DRAWN[negatives]}: not mutual information; it estimates "
            "I(X;Y) + KL(p(y) || q(y)), q the law of the negatives"
        )
    error = None
    if len(influence) > 1:
        error = _Z * influence.double().std().item() / math.sqrt(len(influence))
    return Estimate(
        nats=value,
        low=None if error is None else value - error,
        high=None if error is None else value + error,
        name=name,
        is_bound=bound and marginal,
        saturated=ceiling is not None and value > ceiling - 1,
        ceiling=ceiling,
        is_mutual_information=marginal,
    )
