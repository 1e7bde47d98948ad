"""Find a device's offset and drift from what it and another device recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nearfar.pairs.audio_image._clock import Clock, Seconds
from nearfar.pairs.audio_image._scan import MOST, Peak, drifts_for, near, scan, unrelated

NULLS = 40
# Of 1,000 streams without any relation about 3 get there, if their peaks follow Gumbel's law.
ENOUGH = 4.0
# Rows of the first and of the second stream to how well they fit, larger is better.
Fit = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]


def estimate_clock(
    first: Seconds,
    second: Seconds,
    *,
    reach: float = 3600.0,
    drift: float = 2e-4,
    fit: Fit | None = None,
    seed: int = 0,
) -> Clock:
    """The first device's clock against the second's.

    Where the events themselves coincide, counting coincidences by lag is enough (Knapp & Carter
    1976, the generalised correlation method, for point events); otherwise a model's scores are
    added up instead. The highest bump over lags and drifts is compared with those that `unrelated`
    streams have. A mixture of a Gaussian around a line in time and a uniform background (by
    expectation-maximisation) then gives offset, drift and jitter with their errors.

    Args:
        first: (N,) stamps in seconds.
        second: (M,) stamps in seconds.
        reach: Largest offset to look for; at most an eighth of the record is looked at, because
            those need room.
        drift: Largest drift to look for.
        fit: How well two events fit, by a model; None for coincidences alone.
        seed: Of the unrelated streams.

    Returns:
        A `Clock`, ``found`` only where ``z`` is `ENOUGH`.
    """
    rng = np.random.default_rng(seed)
    ends = [float(end(stream)) for stream in (first, second) for end in (np.min, np.max)]
    since = (min(ends) + max(ends)) / 2
    span = float(min(np.ptp(first), np.ptp(second)))
    by = "trains" if fit is None else "scores"
    reach = min(reach, span / 8)
    if min(len(first), len(second)) < 20 or reach < 60:
        return Clock(since=since, by=by, z=0.0, chance=1.0)
    drifts = drifts_for(span, drift)
    i, j = _some(first, second, reach, rng)
    peak = _peak(first, second, i, j, since, drifts, reach, fit)
    null = []
    for by_seconds in rng.uniform(2 * reach, span - 2 * reach, NULLS):
        other = unrelated(second, by_seconds, rng)
        rows = _some(first, other, reach, rng)
        null.append(_peak(first, other, *rows, since, drifts, reach, fit).height)
    z = (peak.height - float(np.mean(null))) / max(float(np.std(null)), 1e-9)
    # Gumbel's law with the mean and the deviation of the unrelated streams' peaks.
    chance = float(-np.expm1(-np.exp(-(np.pi / np.sqrt(6) * z + np.euler_gamma))))
    clock = Clock(since=since, z=z, chance=chance, by=by)
    if z < ENOUGH:
        return clock
    start = replace(clock, offset=peak.offset, drift=peak.drift, jitter=peak.width, found=True)
    return refine(start, first[i] - second[j], first[i], None if fit is None else fit(i, j))


def refine(
    clock: Clock, lag: Seconds, at: Seconds, evidence: NDArray[np.float64] | None, rounds: int = 500
) -> Clock:
    """Fit a line in time to the lags around a clock that is nearly right.

    Args:
        clock: Where to begin.
        lag: (P,) stamps of the first less those of the second.
        at: (P,) the first's stamps.
        evidence: (P,) logarithm of how much likelier the pair is than a random one, by a model.
    """
    reach = 8 * max(clock.jitter, 2.0)
    offset, drift, jitter = clock.offset, clock.drift, max(clock.jitter, 1.0)
    x = at - clock.since
    close = np.abs(lag - offset - drift * x) < reach
    lag, x = lag[close], x[close]
    odds = np.zeros(len(lag)) if evidence is None else evidence[close]
    if len(lag) < 20:
        return clock
    share, scale, errors = 0.5, max(float(np.abs(x).max()), 1.0), (np.nan, np.nan)
    for _ in range(rounds):
        rest = lag - offset - drift * x
        bell = np.exp(odds - (rest / jitter) ** 2 / 2) / (jitter * np.sqrt(2 * np.pi))
        partner = share * bell / (share * bell + (1 - share) / (2 * reach))
        total = max(float(partner.sum()), 1e-9)
        design = np.stack([np.ones_like(x), x / scale])
        inverse = np.linalg.inv((design * partner) @ design.T + 1e-9 * np.eye(2))
        before = (offset, drift)
        offset, tilt = inverse @ (design * partner) @ lag
        drift = tilt / scale
        rest = lag - offset - drift * x
        jitter = max(float(np.sqrt((partner * rest**2).sum() / total)), 0.5)
        share = min(max(total / len(lag), 1e-4), 1 - 1e-4)
        # The information of what was seen, not of what the mixture supposes.
        score = design * (partner * rest / jitter**2)
        errors = np.sqrt(np.diag(np.linalg.inv(score @ score.T + 1e-9 * np.eye(2))))
        if abs(offset - before[0]) + scale * abs(drift - before[1]) < 1e-3:
            break
    return replace(
        clock,
        offset=float(offset),
        drift=float(drift),
        jitter=jitter,
        offset_error=float(errors[0]),
        drift_error=float(errors[1] / scale),
    )


def _some(
    first: Seconds, second: Seconds, reach: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs within reach, of a random part of the first where they are too many."""
    expected = len(first) * len(second) * 2 * reach / max(float(np.ptp(second)), 1.0)
    rows = np.arange(len(first))
    if expected > MOST:
        rows = np.sort(rng.choice(rows, max(20, int(len(rows) * MOST / expected)), replace=False))
    i, j = near(first[rows], second, reach)
    return rows[i], j


def _peak(
    first: Seconds,
    second: Seconds,
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    since: float,
    drifts: Seconds,
    reach: float,
    fit: Fit | None,
) -> Peak:
    value = None
    if fit is not None:
        value = fit(i, j)
        # No sound fits better than others: only when counts.
        value = value - (np.bincount(i, value) / np.maximum(np.bincount(i), 1))[i]
        value = value - (np.bincount(j, value) / np.maximum(np.bincount(j), 1))[j]
    return scan(first[i] - second[j], first[i] - since, value, drifts, reach)
