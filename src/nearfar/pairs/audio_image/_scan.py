"""How often two streams meet, at every lag and drift that their clocks may have."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nearfar.pairs.audio_image._clock import Seconds

# Standard deviations in seconds of the bump that is looked for.
WIDTHS = (3.0, 10.0, 30.0)
# At most so many pairs of events are looked at; a random part of the sounds stands for the rest.
MOST = 400_000
STRETCH = 30


@dataclass(frozen=True)
class Peak:
    """Where two streams meet most.

    Attributes:
        height: Above the lags around it, in standard deviations over lags.
        offset: Seconds that the first is ahead in the middle of the record.
        drift: Seconds a second that the first gains.
        width: Of `WIDTHS`.
    """

    height: float
    offset: float
    drift: float
    width: float


def near(
    first: Seconds, second: Seconds, reach: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first and of the second whose stamps differ by at most ``reach`` seconds.

    Returns:
        (P,) rows of the first in ascending order, and (P,) rows of the second.

    Example:
        >>> i, j = near(np.array([0.0, 50.0]), np.array([49.0, 1.0]), 5)
        >>> i.tolist(), j.tolist()
        ([0, 1], [1, 0])
    """
    order = np.argsort(second, kind="stable")
    ranked = second[order]
    low = np.searchsorted(ranked, first - reach, "left")
    high = np.searchsorted(ranked, first + reach, "right")
    i = np.repeat(np.arange(len(first)), high - low)
    within = np.arange(len(i)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
    return i, order[within + np.repeat(low, high - low)]


def scan(
    lag: Seconds, at: Seconds, value: NDArray[np.float64] | None, drifts: Seconds, reach: float
) -> Peak:
    """The highest bump over lags within ``reach``, drifts and widths.

    The pairs are counted (or their values added) by lag in bins of a second, after each drift has
    been taken out; a bump is what a Gaussian of one of the `WIDTHS` sees above one six times as
    wide, so that rhythms of hours do not count.

    Args:
        lag: (P,) stamps of the first less those of the second.
        at: (P,) when, from the middle of the record.
        value: (P,) how well a pair fits; None counts them.
        drifts: Those to try.
        reach: Lags to try, either way.
    """
    from scipy.ndimage import gaussian_filter1d

    bins, best = 2 * int(reach) + 1, Peak(-np.inf, 0.0, 0.0, WIDTHS[0])
    for drift in drifts:
        place = np.rint(lag - drift * at).astype(np.int64) + int(reach)
        keep = (place >= 0) & (place < bins)
        weights = None if value is None else value[keep]
        counts = np.bincount(place[keep], weights, bins).astype(np.float64)
        for width in WIDTHS:
            wide = min(6 * width, reach / 2)
            bump = gaussian_filter1d(counts, width) - gaussian_filter1d(counts, wide)
            spread = 1.4826 * np.median(np.abs(bump - np.median(bump)))
            top = int(bump.argmax())
            height = float(bump[top] / max(spread, 1e-9))
            if height > best.height:
                best = Peak(height, float(top - int(reach)), float(drift), width)
    return best


def drifts_for(span: float, largest: float) -> Seconds:
    """Drifts up to ``largest``, as close as the narrowest bump over half the record asks for."""
    step = 2 * WIDTHS[1] / max(span / 2, 1.0)
    each = min(int(np.ceil(largest / step)), 40)
    out: Seconds = np.linspace(-largest, largest, 2 * each + 1)
    return out


def unrelated(stamps: Seconds, by: float, rng: np.random.Generator) -> Seconds:
    """A stream like this one that has nothing to do with any other.

    Gaps are shuffled within stretches of `STRETCH` events, so that rates keep their rhythm of
    hours, and the whole is begun ``by`` seconds later, its end put before its beginning.

    Args:
        stamps: (N,), in any order; the n-th earliest stays the n-th of the shuffled stream.
        by: Seconds.
        rng: Of the shuffle.
    """
    order = np.argsort(stamps, kind="stable")
    gaps = np.diff(stamps[order])
    begins = [0, *range(int(rng.integers(1, STRETCH)), len(gaps), STRETCH), len(gaps)]
    for begin, end in pairwise(begins):
        gaps[begin:end] = rng.permutation(gaps[begin:end])
    out = np.empty_like(stamps)
    out[order] = np.concatenate([[0.0], np.cumsum(gaps)])
    # From the last event round to the first there is a gap too.
    whole = float(out.max()) * len(out) / max(len(gaps), 1)
    shifted: Seconds = stamps.min() + (out + by) % max(whole, 1e-9)
    return shifted
