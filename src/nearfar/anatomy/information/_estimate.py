"""How much x says about y, by a critic that learns it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from nearfar.anatomy.information._bounds import info_nce_bound
from nearfar.anatomy.information._copula import GaussianCritic
from nearfar.anatomy.information._critic import Concat, Residual
from nearfar.anatomy.information._fit import Pairs, Watch, fit, nats
from nearfar.anatomy.information._game import play
from nearfar.anatomy.information._margins import Ranks, Standard
from nearfar.anatomy.information._result import Estimate
from nearfar.errors import NearfarError
from nearfar.loss import _check as check

_FEWEST = 200
# Pairs to a game at most: all of them are candidates of each other.
_LARGEST = 5000


class Split(NamedTuple):
    """How many pairs do what."""

    train: int
    validation: int
    test: int


def split_sizes(pairs: int) -> Split:
    """42 % to learn from, 8 % to stop by, 50 % to be judged by, once.

    Example:
        >>> split_sizes(10_000)
        Split(train=4200, validation=800, test=5000)
    """
    train, validation = round(0.42 * pairs), round(0.08 * pairs)
    return Split(train, validation, pairs - train - validation)


def mutual_information(
    x: Any,
    y: Any,
    *,
    seed: int = 0,
    critic: Literal["copula", "plain"] = "copula",
    callback: Watch | None = None,
) -> Estimate:
    """A lower bound on I(X;Y) from pairs, by InfoNCE with a critic that is learned here.

    1. Split the pairs at random (`split_sizes`).
    2. Bring every column to normal scores of its rank among the training rows.
    3. Take the critic of a Gaussian copula, with as many canonical correlations as the validation
       pairs support.
    4. Add small networks on (x, y) and on either side, and learn by InfoNCE; keep what was best on
       the validation pairs.
    5. Play the game of the test pairs, once: log K - L with K = test pairs (at most 5,000 to a
       game).

    It cannot exceed log K (van den Oord et al. 2018, section 2.3), and a weak critic makes
    it too small, never too large but for chance, which the interval shows. The method is that of
    Czyz et al. 2023 (arXiv 2306.11078, section 3) but for the margins, the base and a test that
    stops nothing.

    Args:
        x: (N, DX) numpy array or torch tensor; (N,) is one column. N of 200 or more independent
            draws: neighbouring moments of one recording are not.
        y: (N, DY) or (N,), row i the partner of x's.
        seed: Of the split, the first weights and the batches; the same seed, the same estimate.
        critic: ``copula``, as above; ``plain`` is the network alone, on columns with mean 0 and
            standard deviation 1.
        callback: Called with the step and the validation estimate in nats.

    Raises:
        NearfarError: Shapes that do not fit, too few rows, a value that is not finite, an unknown
            word.

    Example:
        >>> x, noise = torch.randn(2, 1000, 1, generator=torch.Generator().manual_seed(0))
        >>> found = mutual_information(x, x + noise)  # in truth log(2) / 2 = 0.35
        >>> 0.25 < found.nats < 0.45, found.saturated
        (True, False)
    """
    check.one_of("critic", critic, ("copula", "plain"))
    x, y = _rows("x", x), _rows("y", y)
    if len(x) != len(y) or len(x) < _FEWEST:
        raise NearfarError(
            f"x has {len(x)} rows and y has {len(y)}; wanted the same number, {_FEWEST} or more: "
            "row i of both belongs together."
        )
    y = y.to(x.device)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator).to(x.device)
    train, validation, test = torch.split(order, list(split_sizes(len(x))))
    scale = Ranks if critic == "copula" else Standard
    map_x, map_y = scale.of(x[train]), scale.of(y[train])

    def pairs(rows: Tensor) -> Pairs:
        return map_x(x[rows]).float(), map_y(y[rows]).float()

    sizes = x.shape[1], y.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = (
            Residual(*sizes, _base(pairs(train), pairs(validation)))
            if critic == "copula"
            else Concat(*sizes)
        ).to(x.device)
    learned = fit(net, pairs(train), pairs(validation), generator, callback)
    return _judge(learned, pairs(test))


def _base(train: Pairs, validation: Pairs) -> GaussianCritic:
    """With as many correlations as the validation pairs support."""
    whole = GaussianCritic.of(*train)
    most = len(whole.correlation)
    counts = {*range(min(most, 8)), *range(10, most, 5), most}
    return max((whole.first(count) for count in counts), key=lambda base: nats(base, *validation))


def _judge(critic: nn.Module, test: Pairs) -> Estimate:
    """The test pairs' game, or several of one size."""
    games = -(-len(test[0]) // _LARGEST)
    size = len(test[0]) // games
    each = []
    for x, y in zip(*(torch.split(side, size)[:games] for side in test), strict=True):
        loss, drawn = play(critic, x, y)
        # A pair is an anchor once and a candidate of all: with both, the interval is right.
        each.append(loss + drawn - 1)
    return info_nce_bound(torch.cat(each), size)


def _rows(name: str, given: Any) -> Tensor:
    """(N, D) float64."""
    rows = torch.as_tensor(given).detach()
    if rows.ndim == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] == 0 or rows.is_complex():
        raise NearfarError(
            f"{name} has shape {tuple(rows.shape)} and dtype {rows.dtype}; wanted real numbers of "
            "shape (pairs, numbers of each). Flatten all other dimensions first."
        )
    rows = rows.double()
    if not bool(rows.isfinite().all()):
        row = int((~rows.isfinite().all(1)).nonzero()[0])
        raise NearfarError(
            f"{name} has a NaN or infinity in row {row}; wanted finite numbers. Leave such pairs "
            "out of x and y alike."
        )
    return rows
