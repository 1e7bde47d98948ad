"""Sounds and pictures, told apart by their files' endings, to what the two towers take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearfar.errors import NearfarError, did_you_mean
from nearfar.pairs._decode import quietly, read_picture
from nearfar.pairs._image_reader import ImageReader
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.audio_image._features import look, numbers
from nearfar.pairs.audio_image._find import PICTURES, clips_of, files_below, levels_of, things
from nearfar.pairs.audio_image._mixed import Mixed
from nearfar.pairs.audio_image._sounds import SOUNDS, Clip, as_clip, fixed, read_clip
from nearfar.probes import CrossModal, Embed, Probe


class SenseReader(Reader):
    """Clips and pictures to tensors.

    Args:
        rate: Samples a second of what the encoder hears.
        seconds: Length of a clip; a shorter sound is repeated, of a longer one events are taken.
        size: Side of the pictures.
        folders: What the folders around a file mean, outermost first; see `levels_of`.

    Raises:
        NearfarError: A rate, seconds, size or folders that cannot be.
    """

    example = "SOUND.wav"

    def __init__(
        self, rate: int = 16_000, seconds: float = 4.0, size: int = 32, folders: str = "label"
    ) -> None:
        if rate < 2000:
            raise NearfarError(f"rate={rate}: wanted 2,000 samples a second or more.")
        if not 0.25 <= seconds <= 60:
            raise NearfarError(f"seconds={seconds}: wanted a clip of 0.25 to 60 seconds.")
        self.rate, self.seconds = rate, seconds
        self.levels, self._images = levels_of(folders), ImageReader(size)
        self.settings = {"rate": rate, "seconds": seconds, "size": size, "folders": folders}

    @property
    def samples(self) -> int:
        """Of a clip."""
        return round(self.rate * self.seconds)

    def read(self, inputs: Sequence[Any]) -> Any:
        """(N, S) waveforms, (N, 3, size, size) uint8 pictures, or `Mixed`.

        Args:
            inputs: A `Clip`, the path of a sound (``path@seconds`` for a later part) or of a
                picture; a 1-dimensional array, a waveform at ``rate`` (floats in -1..1 or int16);
                a picture as `ImageReader` takes it.

        Raises:
            NearfarError: An input that cannot be read; it is named.
        """
        heard = [is_sound(item) for item in inputs]
        if all(heard) and heard:
            return self._waves(inputs)
        if not any(heard):
            return self._images.read(inputs)
        sounds = [item for item, sound in zip(inputs, heard, strict=True) if sound]
        pictures = [item for item, sound in zip(inputs, heard, strict=True) if not sound]
        place = torch.tensor(heard)
        order = torch.where(place, place.cumsum(0) - 1, len(sounds) + (~place).cumsum(0) - 1)
        return Mixed((self._waves(sounds), self._images.read(pictures)), order)

    def prepare(self, batch: Any) -> Any:
        """Waveforms as they are; pictures normalised."""
        if isinstance(batch, Mixed):
            waves, pixels = batch.parts
            return Mixed((waves, self._images.prepare(pixels)), batch.order)
        return batch if batch.ndim == 2 else self._images.prepare(batch)

    def find(self, path: str) -> Inputs:
        """The clips and the pictures below a folder; what `folders` calls label is the label."""
        files, skipped = files_below(path, SOUNDS | PICTURES, "path", "sounds or pictures")
        clips = clips_of(self.seconds)

        def read(file: Path) -> list[Any]:
            if file.suffix.lower() in PICTURES:
                return [read_picture(str(file), self.settings["size"]).permute(1, 2, 0).numpy()]
            found = clips(file)
            # Some damage shows only when the samples are asked for.
            read_clip(found[0], self.rate, self.seconds)
            return found

        with quietly():
            found = things(Path(path), files, self.levels, read)
        if not found.items:
            raise NearfarError(
                f"path={path!r}: none of its {len(files)} files can be read. The first: "
                f"{next(iter(found.skipped.values()))}"
            )
        found.skipped.update(skipped)
        labels = [entry.label for entry in found.entries]
        return Inputs(found.names, found.items, labels if all(labels) else None, found.skipped)

    def one(self, query: str, gallery: Inputs) -> Any:
        """A clip or picture of the gallery by its name, or a file by its path."""
        if query in gallery.names:
            return gallery.items[gallery.names.index(query)]
        if Path(as_clip(query).file).is_file():
            return query
        raise NearfarError(
            f"query={query!r} is neither a file nor one of {len(gallery.names)} names of the "
            f"gallery, such as {gallery.names[0]!r}.{did_you_mean(query, gallery.names)}"
        )

    def baselines(self) -> dict[str, Embed]:
        """Levels: how loud each band is, beside how bright each row of pixels is."""
        return {"levels": lambda inputs: numbers(self, inputs)[:, :16]}

    def probe(self, found: Inputs, test: Inputs | None = None) -> Probe | None:
        """Do sounds find pictures of their label, and pictures sounds?

        Args:
            found: Sounds, pictures, or both.
            test: The other side, or more of both.
        """
        every = [found] if test is None else [found, test]
        if any(inputs.labels is None for inputs in every):
            return None
        items = [item for inputs in every for item in inputs.items]
        labels = [label for inputs in every for label in inputs.labels or ()]
        heard = [is_sound(item) for item in items]
        both = set(labels) if all(heard) or not any(heard) else {
            label
            for label in set(labels)
            if len({h for h, own in zip(heard, labels, strict=True) if own == label}) == 2
        }  # fmt: skip
        if len(both) < 2 or all(heard) or not any(heard):
            return None
        keep = [row for row, label in enumerate(labels) if label in both]
        ears = [row for row in keep if heard[row]]
        eyes = [row for row in keep if not heard[row]]
        return CrossModal(
            sounds=[items[row] for row in ears],
            pictures=[items[row] for row in eyes],
            sound_labels=[labels[row] for row in ears],
            picture_labels=[labels[row] for row in eyes],
        )

    def pictures(self, inputs: Sequence[Any]) -> Tensor:
        """(N, size, size, 3) uint8: a picture, or a sound's bands over time."""
        return look(self, inputs)

    def _waves(self, inputs: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.stack([self._wave(item) for item in inputs]))

    def _wave(self, item: Any) -> Any:
        if isinstance(item, np.ndarray):
            wave = item.astype(np.float32) / 2**15 if item.dtype == np.int16 else item
            return fixed(wave, self.rate, self.rate, self.samples)
        return read_clip(item, self.rate, self.seconds)


def is_sound(item: Any) -> bool:
    """A `Clip`, a waveform, or a path with a sound's ending."""
    if isinstance(item, str | Path):
        return Path(as_clip(str(item)).file).suffix.lower() in SOUNDS
    return isinstance(item, Clip) or (isinstance(item, np.ndarray) and item.ndim == 1)
