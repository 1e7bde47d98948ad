"""Simulated streams as files: python benchmarks/audio_image_files.py DATA FOLDER [--offset 600 ...]

Writes FOLDER/audio (WAV, stamps in the names as AudioMoth writes them) and FOLDER/images (JPEG,
stamps in EXIF) in sub-folders of their classes, and prints the true clock. Real signals with
simulated clocks; the recordings and photos are those for training and validation. FOLDER/test holds
the other ones, for `nearfar evaluate RUN FOLDER/test/audio --test FOLDER/test/images`.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile
from audio_image_streams import RATE, Errors, signals, simulate
from PIL import Image

from nearfar.pairs.audio_image import Stream


def write(stream: Stream, folder: Path) -> None:
    """One file an item."""
    sounds = stream.data.ndim == 2
    for row, (stamp, label) in enumerate(
        zip(stream.moments.stamps, stream.moments.labels, strict=True)
    ):
        (folder / label).mkdir(parents=True, exist_ok=True)
        moment = datetime.fromtimestamp(round(stamp), UTC)
        if sounds:
            name = f"{row:04}_{moment:%Y%m%d_%H%M%S}.wav"
            soundfile.write(folder / label / name, stream.data[row].numpy(), RATE)
            continue
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"{moment:%Y:%m:%d %H:%M:%S}"
        picture = Image.fromarray(stream.data[row].permute(1, 2, 0).numpy())
        picture.save(folder / label / f"IMG_{row:04}.jpg", quality=95, exif=exif)


def main() -> None:
    """Write both sides, and what is kept for testing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    for name in ("offset", "drift", "jitter"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    words = parser.parse_args()
    data = signals(words.data)
    errors = Errors(offset=words.offset, drift=words.drift, jitter=words.jitter)
    heard, seen, *_ = simulate(
        data, errors, events=words.events, seed=words.seed, parts=("train", "validation")
    )
    write(heard, words.folder / "audio")
    write(seen, words.folder / "images")
    for side, values, labels, split in (
        ("audio", data.waves, data.sound_labels, data.sound_split),
        ("images", data.pixels, data.picture_labels, data.picture_split),
    ):
        rows = np.flatnonzero(split == "test")
        moments = seen.moments.only(np.zeros(len(rows), int))
        kept = Stream(moments, values[rows])
        kept.moments.labels[:] = [str(label) for label in labels[rows]]
        write(kept, words.folder / "test" / side)
    print(f"true clock of the recorder: {words.offset:+.0f} s, drift {words.drift:+.0f} ppm")


if __name__ == "__main__":
    main()
