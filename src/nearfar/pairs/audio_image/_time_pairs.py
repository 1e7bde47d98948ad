"""A clip and a picture of the same moment are a pair, as far as the clocks are known."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._pairs import Batch
from nearfar.pairs._reader import Reader
from nearfar.pairs._views import Views
from nearfar.pairs.audio_image._clock import Clock
from nearfar.pairs.audio_image._devices import Clocks, align, by_site, right_times
from nearfar.pairs.audio_image._find import Moments
from nearfar.pairs.audio_image._headers import header_shortcuts
from nearfar.pairs.audio_image._opinion import Opinion
from nearfar.pairs.audio_image._partners import Partners, Relation, in_batch
from nearfar.pairs.audio_image._streams import Stream
from nearfar.probes import Embed, Shortcuts

# A clock that events do not show is looked for with the model after these shares of the steps.
_ASK = (0.3, 0.5, 0.7)
# And the model's opinion of the candidates is asked for this often in all.
_LOOKS = 10


class TimePairs:
    """Clips and pictures in memory, and who was recorded when.

    Args:
        heard: N clips.
        seen: M pictures.
        views: Random views of pictures, floats in 0..1.
        reader: Prepares pictures for the encoder.
        clocks: What is known of the clocks.
        relation: How time makes partners; see `Partners`.
        window: Seconds within which two may belong together and are never negatives; None for
            three times the jitter of the clocks.
        blind: The same while a clock is looked for.
        reach: Largest offset, and
        drift: largest drift of a clock that is looked for.
        part: Share of a clip that a view shows, from a random place.
        temperature: By which the model's scores are divided before they are believed.

    Raises:
        NearfarError: No sound has a picture near it in time, or nothing is far enough from
            anything to be a negative.
    """

    def __init__(
        self,
        heard: Stream,
        seen: Stream,
        views: Views,
        reader: Reader,
        clocks: Clocks,
        *,
        relation: Relation = "mil",
        window: float | None = None,
        blind: float = 900.0,
        reach: float = 3600.0,
        drift: float = 2e-4,
        part: float = 0.5,
        temperature: float = 0.1,
    ) -> None:
        sounds, pictures = self.sounds, self.pictures = heard.moments, seen.moments
        self.waves, self.pixels = heard.data, seen.data
        self.views, self._reader = views, reader
        self.relation: Relation = relation
        self.window, self.blind, self.reach, self.drift = window, blind, reach, drift
        self.part, self.temperature = part, temperature
        self._apart = _apart(sounds, pictures)
        self._opinion: Opinion | None = None
        content = hashlib.blake2b(repr((sounds.names, pictures.names)).encode(), digest_size=8)
        for part_ in (sounds.stamps, pictures.stamps, heard.data.numpy(), seen.data.numpy()):
            content.update(np.ascontiguousarray(part_).tobytes())
        self.fingerprint = content.hexdigest()
        self.set_clocks(clocks)
        span = max(float(np.ptp(self.seen)), float(np.ptp(self.heard)))
        if self.partners.lonely.all() or span <= 2 * float(self._windows.min()):
            near = f"{self._windows.max():.0f} s"
            raise NearfarError(
                f"{len(sounds.names)} sounds and {len(pictures.names)} pictures: "
                + (
                    f"no picture lies within {near} of any sound. Check --audio_zone and "
                    "--image_zone, raise --window, or give the times by --times."
                    if self.partners.lonely.all()
                    else f"all of them lie within {span:.0f} s, and what is closer than the window "
                    f"of {near} is no negative. Lower --window, or record longer."
                )
            )

    def __len__(self) -> int:
        return len(self.sounds.names)

    def names(self, rows: Tensor) -> list[str]:
        return [self.sounds.names[row] for row in rows.tolist()]

    @property
    def widest(self) -> float:
        """Seconds within which two may belong together, at most."""
        return float(self._windows.max())

    def nearest(self) -> tuple[Tensor, Tensor]:
        """Rows of the sounds that have a candidate, and of the likeliest picture of each."""
        order = np.lexsort((-self.partners.likely, self.partners.sound))
        sound, first = np.unique(self.partners.sound[order], return_index=True)
        return torch.from_numpy(sound), torch.from_numpy(self.partners.picture[order][first])

    def set_clocks(self, clocks: Clocks) -> None:
        """Pair anew by these clocks."""
        self.clocks = clocks
        self.heard, jitters = right_times(self.sounds, clocks.sounds)
        self.seen, others = right_times(self.pictures, clocks.pictures)
        self._jitters = np.sqrt(jitters**2 + np.mean(others) ** 2).clip(1.0)
        lost = np.array([clocks.sounds[device].lost for device in self.sounds.devices])
        self._jitters[lost] = self.blind / 2
        windows = 3 * self._jitters if self.window is None else np.full(len(lost), self.window)
        self._windows = np.where(lost, self.blind, windows)
        self.partners = Partners(
            self.heard, self.seen, self._windows, self._jitters, self.relation, self._apart
        )
        if self._opinion is not None and self.relation == "mil":
            self._consult(self._opinion)

    def draw(self, rows: Tensor, device: torch.device) -> Batch:
        """A random view of each clip, and one of a picture of its moment.

        A clip whose window holds no picture has no partner; another of the batch stands for it.
        """
        sound = rows.numpy()
        lonely = self.partners.lonely[sound]
        if lonely.all():
            sound, lonely = np.flatnonzero(~self.partners.lonely), np.zeros(0, bool)
            sound = sound[torch.randint(len(sound), (len(rows),)).numpy()]
        elif lonely.any():
            others = np.flatnonzero(~lonely)
            pick = torch.randint(len(others), (int(lonely.sum()),)).numpy()
            sound = sound.copy()
            sound[lonely] = sound[others[pick]]
        picture = self.partners.draw(sound)
        heard, seen, windows, jitters = (
            torch.from_numpy(column)
            for column in (
                self.heard[sound],
                self.seen[picture],
                self._windows[sound],
                self._jitters[sound],
            )
        )
        weight, mask = in_batch(heard, seen, windows, jitters, self.relation)
        if self._apart is not None:
            apart = torch.from_numpy(self._apart[np.ix_(sound, picture)])
            weight, mask = weight.masked_fill(apart, 0.0), mask | apart
        with torch.no_grad():
            query = self._clips(torch.from_numpy(sound)).to(device, non_blocking=True)
            shown = self.pixels[torch.from_numpy(picture)].to(device).float() / 255
            key = self._reader.prepare(self.views(shown))
        ids = torch.from_numpy(sound).to(device)
        partners = None if self.relation == "nearest" else weight.to(device)
        return Batch(query, key, ids, partners, mask.to(device))

    def _clips(self, sound: Tensor) -> Tensor:
        """A random stretch of each clip; the end goes on at the beginning."""
        length = self.waves.shape[1]
        size = round(self.part * length)
        starts = torch.randint(length, (len(sound),)).tolist()
        parts = []
        for row, start in zip(sound.tolist(), starts, strict=True):
            wave = self.waves[row]
            parts.append(
                torch.cat([wave[start : start + size], wave[: max(0, start + size - length)]])
            )
        return torch.stack(parts).float() / 2**15

    def revise(self, embed: Embed, step: int, steps: int) -> None:
        """Ask the model who fits whom: for clocks that are not found, and for the candidates."""
        every = max(1, steps // _LOOKS)
        asking = self.clocks.lost() and step in {round(share * steps) for share in _ASK}
        if not step or (step % every and not asking) or not (asking or self.relation == "mil"):
            return
        heard = embed(list(self.waves.numpy()))
        seen = embed(list(self.pixels.permute(0, 2, 3, 1).numpy()))
        self._opinion = Opinion(heard, seen, self.temperature)
        if asking:
            self.set_clocks(
                align(
                    self.sounds,
                    self.pictures,
                    reach=self.reach,
                    drift=self.drift,
                    fit=self._opinion,
                    known=self.clocks,
                )
            )
        elif self.relation == "mil":
            self._consult(self._opinion)

    def _consult(self, opinion: Opinion) -> None:
        self.partners.consult(
            opinion(self.partners.sound, self.partners.picture, self.partners.sure)
        )

    def shortcuts(self) -> Shortcuts | None:
        """Whether the recordings' sample rate, length and loudness tell their labels."""
        return header_shortcuts(self.sounds, self.waves)

    def state_dict(self) -> dict[str, Any]:
        """Clocks and the candidates' likelihoods."""
        sides = {"sounds": self.clocks.sounds, "pictures": self.clocks.pictures}
        return {
            "clocks": {
                side: {d: asdict(c) for d, c in all_.items()} for side, all_ in sides.items()
            },
            "reference": list(self.clocks.reference),
            "likely": torch.from_numpy(self.partners.likely),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._opinion = None
        sides = {
            side: {device: Clock(**values) for device, values in all_.items()}
            for side, all_ in state["clocks"].items()
        }
        self.set_clocks(Clocks(sides["sounds"], sides["pictures"], tuple(state["reference"])))
        self.partners.likely = state["likely"].numpy()


def _apart(sounds: Moments, pictures: Moments) -> NDArray[np.bool_] | None:
    if len(groups := by_site(sounds, pictures)) < 2:
        return None
    apart = np.ones((len(sounds.names), len(pictures.names)), bool)
    for heard, seen in groups:
        apart[np.ix_(heard, seen)] = False
    return apart
