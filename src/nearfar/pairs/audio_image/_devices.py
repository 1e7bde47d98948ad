"""Every device's clock against one of the cameras."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nearfar.pairs.audio_image._clock import Clock, Seconds
from nearfar.pairs.audio_image._estimate import Fit, estimate_clock
from nearfar.pairs.audio_image._find import Moments


@dataclass(frozen=True)
class Clocks:
    """The clocks of recorders and of cameras, by the device's name.

    Attributes:
        sounds: Of recorders.
        pictures: Of cameras; the one that all others are measured by runs right by definition.
        reference: Names of those.
    """

    sounds: dict[str, Clock] = field(default_factory=dict)
    pictures: dict[str, Clock] = field(default_factory=dict)
    reference: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A sentence for each device whose clock is measured."""
        every = [("recorder", *one) for one in self.sounds.items()]
        every += [("camera", *one) for one in self.pictures.items() if one[0] not in self.reference]
        by = f", measured by {', '.join(self.reference)}" if self.reference else ""
        return [f"clock of {kind} {name}{by}: {clock}" for kind, name, clock in every]

    def lost(self) -> bool:
        """Whether some clock was looked for and not found."""
        return any(clock.lost for clock in (*self.sounds.values(), *self.pictures.values()))


def believed(sounds: Moments, pictures: Moments, jitter: float) -> Clocks:
    """Stamps taken as they are."""
    return Clocks(
        {device: Clock(jitter=jitter) for device in set(sounds.devices)},
        {device: Clock(jitter=0.0) for device in set(pictures.devices)},
    )


def align(
    sounds: Moments,
    pictures: Moments,
    *,
    reach: float,
    drift: float,
    fit: Fit | None = None,
    known: Clocks | None = None,
) -> Clocks:
    """Measure the recorders of each site by its busiest camera, then its other cameras by them.

    Args:
        sounds: All clips.
        pictures: All pictures.
        reach: Largest offset in seconds.
        drift: Largest drift.
        fit: How well rows of sounds and of pictures fit, by a model; None: events that coincide.
        known: Clocks found earlier; they stay, and only the others are looked for.
    """
    out = Clocks()
    references: list[str] = []
    for heard, seen in by_site(sounds, pictures):
        ears, eyes = _by_device(sounds, heard), _by_device(pictures, seen)
        reference = max(eyes, key=lambda device: len(eyes[device]))
        references.append(reference)
        out.pictures[reference] = Clock(jitter=0.0)
        for device, rows in ears.items():
            kept = known.sounds.get(device) if known else None
            out.sounds[device] = kept if kept and kept.found else _one(
                sounds.stamps, rows, pictures.stamps, eyes[reference], fit, reach, drift
            )  # fmt: skip
        sure = [device for device in ears if out.sounds[device].found]
        if not sure:
            out.pictures.update({d: Clock(jitter=0.0) for d in eyes if d != reference})
            continue
        right = sounds.stamps.copy()
        for device in sure:
            right[ears[device]] = out.sounds[device].right(right[ears[device]])
        heard_right = np.concatenate([ears[device] for device in sure])
        for device, rows in eyes.items():
            if device == reference:
                continue
            kept = known.pictures.get(device) if known else None
            turned: Fit | None = None if fit is None else _turned(fit)
            out.pictures[device] = kept if kept and kept.found else _one(
                pictures.stamps, rows, right, heard_right, turned, reach, drift
            )  # fmt: skip
    return Clocks(out.sounds, out.pictures, tuple(dict.fromkeys(references)))


def by_site(sounds: Moments, pictures: Moments) -> list[tuple[NDArray[np.int64], ...]]:
    """Rows of the sounds and of the pictures of each place that has both.

    Where the sounds, or the pictures, name no site, all were at one.
    """
    if not any(sounds.sites) or not any(pictures.sites):
        return [(np.arange(len(sounds.names)), np.arange(len(pictures.names)))]
    both = sorted(set(sounds.sites) & set(pictures.sites))
    heard, seen = np.array(sounds.sites), np.array(pictures.sites)
    return [(np.flatnonzero(heard == site), np.flatnonzero(seen == site)) for site in both]


def right_times(moments: Moments, clocks: dict[str, Clock]) -> tuple[Seconds, Seconds]:
    """(N,) times by the reference clock, and (N,) jitters in seconds."""
    times, jitters = moments.stamps.copy(), np.zeros(len(moments.names))
    names = np.array(moments.devices)
    for device, clock in clocks.items():
        rows = names == device
        times[rows], jitters[rows] = clock.right(times[rows]), clock.jitter
    return times, jitters


def _by_device(moments: Moments, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    names = np.array(moments.devices)[rows]
    return {str(name): rows[names == name] for name, _ in Counter(names.tolist()).most_common()}


def _one(
    first: Seconds,
    rows: NDArray[np.int64],
    second: Seconds,
    others: NDArray[np.int64],
    fit: Fit | None,
    reach: float,
    drift: float,
) -> Clock:
    own: Fit | None = None if fit is None else lambda i, j: fit(rows[i], others[j])
    return estimate_clock(first[rows], second[others], reach=reach, drift=drift, fit=own)


def _turned(fit: Fit) -> Fit:
    return lambda i, j: fit(j, i)
