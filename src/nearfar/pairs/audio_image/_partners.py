"""Who may be whose partner, by time and by what a model thinks of it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.pairs.audio_image._clock import Seconds
from nearfar.pairs.audio_image._scan import near

Relation = Literal["nearest", "window", "soft", "mil"]


class Partners:
    """For each sound its candidates among the pictures, and how likely each is the partner.

    Before a model is asked, the likelihood is the relation's: all on the nearest in time
    (``nearest``), even over the window (``window``), or falling with the square of the time between
    them (``soft`` and ``mil``: a Gaussian as wide as the stamps' jitter).

    Args:
        sounds: (N,) times by the reference clock.
        pictures: (M,) the same.
        windows: (N,) how far a partner may be, in seconds.
        jitters: (N,) standard deviations of a pair's time difference.
        relation: See above.
        apart: (N, M) whether two were at different places; None where all were at one.

    Attributes:
        sound: (P,) row of the sound of each candidate pair, ascending.
        picture: (P,) row of its picture.
        prior: (P,) by time alone; each sound's sum to one.
        likely: (P,) with the model's opinion; `consult` changes it.
    """

    def __init__(
        self,
        sounds: Seconds,
        pictures: Seconds,
        windows: Seconds,
        jitters: Seconds,
        relation: Relation,
        apart: NDArray[np.bool_] | None = None,
    ) -> None:
        i, j = near(sounds, pictures, float(windows.max(initial=0.0)))
        lag = np.abs(sounds[i] - pictures[j])
        keep = lag <= windows[i]
        if apart is not None:
            keep &= ~apart[i, j]
        i, j, lag = i[keep], j[keep], lag[keep]
        self.sound, self.picture, self._count = i, j, len(sounds)
        if relation == "nearest":
            best = np.full(len(sounds), np.inf)
            np.minimum.at(best, i, lag)
            weight = (lag == best[i]).astype(np.float64)
        elif relation == "window":
            weight = np.ones(len(i))
        else:
            # Relative to the nearest, so that none vanishes.
            best = np.full(len(sounds), np.inf)
            np.minimum.at(best, i, lag)
            weight = np.exp((best[i] ** 2 - lag**2) / (2 * jitters[i] ** 2))
        self.prior = self._normalised(weight)
        self.likely = self.prior

    @property
    def lonely(self) -> NDArray[np.bool_]:
        """(N,) sounds without any candidate."""
        out = np.ones(self._count, bool)
        out[self.sound] = False
        return out

    @property
    def sure(self) -> float:
        """The chance that a partner drawn now is the right one, if the likelihoods are right."""
        return float((self.likely**2).sum() / max(self._count - self.lonely.sum(), 1))

    def consult(self, evidence: NDArray[np.float64], rounds: int = 5) -> None:
        """Weigh the candidates by what a model thinks of them too.

        By Fisher's identity the gradient of MIL-NCE's numerator, the logarithm of the sum over a
        bag of candidates (Miech et al. 2020, arXiv 1912.06430, equation 1), is the mean of the
        candidates' gradients under this posterior; drawing partners from it follows that gradient
        without encoding whole bags. A picture that two sounds want is shared between them: rows
        and columns are scaled in turn (Sinkhorn's algorithm), columns down only, since a picture
        may have no sound at all.

        Args:
            evidence: (P,) logits of the candidate pairs.
        """
        top = np.full(self._count, -np.inf)
        np.maximum.at(top, self.sound, evidence)
        weight = self._normalised(self.prior * np.exp(evidence - top[self.sound]))
        for _ in range(rounds):
            wanted = np.bincount(self.picture, weight)
            weight = self._normalised(weight / np.maximum(wanted[self.picture], 1.0))
        self.likely = weight

    def draw(self, sounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """A picture for each of some sounds, none of them lonely, from torch's random state."""
        ends = np.searchsorted(self.sound, sounds, "right")
        begins = np.searchsorted(self.sound, sounds, "left")
        sums = np.concatenate([[0.0], np.cumsum(self.likely)])
        chance = torch.rand(len(sounds), dtype=torch.float64).numpy()
        target = sums[begins] + chance * (sums[ends] - sums[begins])
        place = np.searchsorted(sums, target, "right") - 1
        out: NDArray[np.int64] = self.picture[place.clip(begins, ends - 1)]
        return out

    def _normalised(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.bincount(self.sound, weight, self._count)
        out: NDArray[np.float64] = weight / np.maximum(sums[self.sound], 1e-300)
        return out


def in_batch(
    sounds: Tensor, pictures: Tensor, windows: Tensor, jitters: Tensor, relation: Relation
) -> tuple[Tensor, Tensor]:
    """Who belongs together, and who may be a negative, among a batch's sounds and pictures.

    Args:
        sounds: (N,) times by the reference clock.
        pictures: (N,) of the pictures that were drawn for them.
        windows: (N,) seconds; what is closer is never a negative.
        jitters: (N,) standard deviations in seconds.
        relation: See `Partners`.

    Returns:
        (N, N) weights of positives, and (N, N) bool, True where a negative may stand.
    """
    lag = (sounds[:, None] - pictures).abs()
    close = lag <= windows[:, None]
    own = torch.eye(len(sounds), dtype=torch.bool, device=sounds.device)
    if relation == "nearest":
        weight = own.double()
    elif relation == "window":
        weight = (close | own).double()
    else:
        weight = torch.exp(-(lag**2) / (2 * jitters[:, None] ** 2)) * close
        # What was drawn is a partner, however unlikely.
        weight = torch.where(own, weight.clamp_min(1e-3), weight)
    return weight.float(), ~close
