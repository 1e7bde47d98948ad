"""Does a generator show all there is? Modes, quality, and how evenly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._scores import Embed, Scores

# (number) to as many samples.
Sampler = Callable[[int], NDArray[np.float32]]
# (N, ...) samples to the mode of each, (N,) from 0, and whether it is of high quality, (N,) bool.
Naming = Callable[[NDArray[np.float32]], tuple[NDArray[np.int64], NDArray[np.bool_]]]


@dataclass(frozen=True, kw_only=True)
class ModeProbe:
    """Samples of several generators, named mode by mode (Lin et al. 2018, PacGAN, section 4.1).

    A mode counts as captured from one sample of high quality on, which noise everywhere also
    achieves: read it with the share of high quality. Reverse KL is KL(samples || real) over the
    modes, quality left aside, where the real modes are equally likely; 0 is best, log(modes) worst.

    Attributes:
        samplers: Who is judged, by name.
        real: Real items drawn anew, for the note.
        naming: Says the mode and the quality of samples.
        modes: How many there are.
        number: Samples of each.
        quality: What high quality means here.
    """

    samplers: Mapping[str, Sampler]
    real: Sampler
    naming: Naming
    modes: int
    number: int
    quality: str

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """One row a sampler; ``features`` have no part in it."""
        real = self._judge(self.real)
        rows = {name: self._judge(sample) for name, sample in self.samplers.items()}
        return Scores(
            title=f"{self.number:,} samples, {self.modes:,} modes",
            measures={
                "modes": f"modes captured, of {self.modes:,}",
                "quality": "high quality",
                "evenness": "minus reverse KL",
                "rarest": "rarest mode / fair share",
            },
            rows=rows,
            note=(
                f"high quality: {self.quality}. Real items drawn anew: "
                f"{real['modes']:.3f}, {real['quality']:.3f}, {real['evenness']:.3f}, "
                f"{real['rarest']:.3f}."
            ),
        )

    def _judge(self, sample: Sampler) -> dict[str, float]:
        samples = sample(self.number)
        if not np.isfinite(samples).all():
            raise NearfarError("A generator makes numbers that are not finite; lower --lr.")
        mode, good = self.naming(samples)
        counts = np.bincount(mode, minlength=self.modes)
        share = counts[counts > 0] / len(mode)
        caught = np.bincount(mode[good], minlength=self.modes)
        return {
            "modes": float((caught > 0).mean()),
            "quality": float(good.mean()),
            "evenness": -float((share * np.log(share * self.modes)).sum()),
            "rarest": float(caught.min() * self.modes / len(mode)),
        }


def nearest_centre(centres: NDArray[np.float32], deviation: float) -> Naming:
    """The nearest centre names a point; within three deviations it is of high quality.

    Args:
        centres: (K, D).
        deviation: Of every mode.
    """

    def name(points: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        away = np.linalg.norm(points[:, None] - centres, axis=2)
        near: NDArray[np.bool_] = away.min(1) < 3 * deviation
        return away.argmin(1), near

    return name


def stacked_classifier(singles: NDArray[np.float32], numbers: NDArray[np.int64]) -> Naming:
    """The nearest single digit names each channel, three channels a number from 0 to 999.

    A channel is of high quality where it is no farther from its nearest single digit than 95 % of
    the digits are from theirs.

    Args:
        singles: (M, D) digits, floats in 0..1.
        numbers: (M,) which digit each is.
    """
    from sklearn.neighbors import KNeighborsClassifier

    nearest: Any = KNeighborsClassifier(1).fit(singles, numbers)
    usual = np.quantile(nearest.kneighbors(singles, 2)[0][:, 1], 0.95)

    def name(stacks: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        away, row = nearest.kneighbors(stacks.reshape(len(stacks) * 3, -1))
        digits = numbers[row[:, 0]].reshape(-1, 3)
        good: NDArray[np.bool_] = (away[:, 0] <= usual).reshape(-1, 3).all(1)
        return digits @ np.array([100, 10, 1]), good

    return name
