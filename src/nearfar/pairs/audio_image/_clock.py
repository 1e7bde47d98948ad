"""A device's clock, as far as it is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How a device's clock runs against the reference clock.

    Attributes:
        offset: Seconds that it is ahead at ``since``.
        drift: Seconds that it gains a second; 1e-6 is 1 ppm.
        since: The stamp at which ``offset`` holds: the middle of the record, where the errors of
            offset and drift do not depend on each other.
        jitter: Standard deviation in seconds of the stamps around that line.
        offset_error: Standard error of ``offset``.
        drift_error: Standard error of ``drift``.
        z: How far the peak stands above those of unrelated streams, in their deviations.
        chance: Share of unrelated streams, by a Gumbel fit, that would have as high a peak.
        found: Whether ``z`` is enough.
        by: What it was found by: ``trains``, ``scores``, or ``stamps`` where they are believed.
    """

    offset: float = 0.0
    drift: float = 0.0
    since: float = 0.0
    jitter: float = 30.0
    offset_error: float = math.nan
    drift_error: float = math.nan
    z: float = math.nan
    chance: float = math.nan
    found: bool = False
    by: str = "stamps"

    @property
    def lost(self) -> bool:
        """Whether it was looked for and not found."""
        return self.by != "stamps" and not self.found

    def right(self, stamps: Seconds) -> Seconds:
        """The reference clock's time of this device's stamps."""
        out: Seconds = stamps - self.offset - self.drift * (stamps - self.since)
        return out

    def __str__(self) -> str:
        if self.by == "stamps":
            return "its stamps are taken as they are"
        if self.lost:
            return (
                f"no clock found: of streams without any relation {self.chance:.0%} score as well "
                f"(z = {self.z:.1f}); its stamps are taken as they are"
            )
        return (
            f"{self.offset:+.1f} ± {self.offset_error:.1f} s, drift {1e6 * self.drift:+.0f} ± "
            f"{1e6 * self.drift_error:.0f} ppm, jitter {self.jitter:.1f} s, by {self.by} "
            f"(z = {self.z:.1f})"
        )
