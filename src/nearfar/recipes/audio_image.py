"""Sounds and pictures: a clip and a picture taken at the same time belong together.

A microphone and a camera trap watch one place, and only their clocks relate what they recorded. A
clip and a picture of the same moment are a positive pair; all other pictures are negatives. Clocks
are off by minutes, drift, and stamp when a file was closed: so a partner is a likely one, not a
sure one, among all pictures of a window of time, and what else lies in that window is no negative
(the sum over candidates inside the logarithm: Miech et al. 2020, MIL-NCE, arXiv 1912.06430,
equation 1). Before training, each device's offset and drift are read off the events that several
devices recorded; where these say nothing, off the model's own scores while it learns; and where
both say no more than unrelated streams would, no clock is claimed.
"""

from __future__ import annotations

import math
from typing import Literal

from nearfar.encoders import (
    HuggingFaceSound,
    ResNet,
    SoundConv,
    TwoTowers,
    choose_image_encoder,
)
from nearfar.errors import check_range
from nearfar.experiment import Experiment
from nearfar.loss import InfoNCE, Temperature
from nearfar.model import Model
from nearfar.pairs import simclr_views
from nearfar.pairs.audio_image import Relation, SenseReader, TimePairs, lowest_rate, streams
from nearfar.recipes._audio_image_exhibits import exhibits, remarks
from nearfar.recipes._audio_image_parts import clocks_of, probe_of, split_in_time


def audio_image(
    audio: str = "",
    images: str = "",
    times: str | None = None,
    folders: str = "label",
    audio_zone: str = "UTC",
    image_zone: str = "UTC",
    pattern: str | None = None,
    clock: Literal["estimate", "trust"] = "estimate",
    reach: float = 4000.0,
    drift: float = 2e-4,
    relation: Relation = "mil",
    window: float | None = None,
    jitter: float = 30.0,
    hold_out: float = 0.2,
    audio_encoder: str = "conv",
    image_encoder: str = "small",
    weights: bool = True,
    rate: int | None = None,
    seconds: float = 4.0,
    size: int = 32,
    crop: float = 0.8,
    colour: float = 0.1,
    dim: int = 128,
    temperature: float = 0.1,
) -> Experiment:
    """Learn from recordings and pictures of one place.

    Args:
        audio: Folder of sounds; those longer than two clips are cut at their events.
        images: Folder of pictures.
        times: CSV with the columns file and time (device, site, label), a folder of such, or a
            Camtrap DP folder; by default times are in EXIF and in the files' names.
        folders: What the folders around a file mean, outermost first: label, device, site.
        audio_zone: Time zone of recorders' stamps that name none: UTC, +01:00, Europe/Brussels.
        image_zone: The same of cameras.
        pattern: How names write the time, in strptime's letters; common ways are known.
        clock: estimate each device's offset and drift from the data, or trust the stamps.
        reach: Largest offset in seconds that is looked for.
        drift: Largest drift, in seconds a second.
        relation: mil (candidates by time and by the model), soft (by time), window (evenly),
            nearest.
        window: Seconds within which two may belong together and are never negatives; by default
            three times the jitter.
        jitter: Deviation in seconds of the stamps where it is not measured.
        hold_out: Share of the record, its end, that training leaves out and the table is about.
        audio_encoder: conv (log-mel, small), or a Hugging Face model on waveforms: name or folder.
        image_encoder: small, resnet (four times as wide), or a Hugging Face vision model.
        weights: Start Hugging Face models from their trained weights.
        rate: Samples a second; by default the recordings' lowest, at most 16,000.
        seconds: Length of a clip.
        size: Side of the pictures in pixels.
        crop: Smallest share of a picture's area that a view shows.
        colour: Strength of the colour changes.
        dim: Numbers of an embedding.
        temperature: How sharply hard negatives are weighted; low is sharp.
    """
    check_range(1, dim=dim)
    check_range(0, reach=reach, drift=drift, jitter=jitter)
    check_range(0, math.inf, "(]", window=window)
    tau = Temperature(temperature)
    reader = SenseReader(lowest_rate(audio) if rate is None else rate, seconds, size, folders)
    views = simclr_views(size, crop=crop, colour=colour)
    heard, seen = streams(audio, images, times, reader, (audio_zone, image_zone), pattern)
    sound = (
        SoundConv(reader.rate, (24, 48, 96))
        if audio_encoder == "conv"
        else HuggingFaceSound.load(audio_encoder, weights=weights)
    )
    picture = (
        ResNet((32, 64, 128))
        if image_encoder == "small"
        else choose_image_encoder(image_encoder, weights=weights)
    )
    clocks = clocks_of(heard, seen, clock, reach, drift, jitter, hold_out)
    (heard_now, heard_later), (seen_now, seen_later) = split_in_time(heard, seen, clocks, hold_out)
    pairs = TimePairs(
        heard_now,
        seen_now,
        views,
        reader,
        clocks,
        relation=relation,
        window=window,
        reach=reach,
        drift=drift,
        temperature=temperature,
    )
    return Experiment(
        # Both towers end in one space, and that is where sounds are to find pictures: no head.
        model=Model(reader, TwoTowers.of(sound, picture, dim)),
        pairs=pairs,
        objective=InfoNCE(tau, symmetric=True, form="in" if relation == "mil" else "out"),
        temperature=tau,
        inputs=heard_now.moments.items,
        labels=heard_now.moments.labels if all(heard_now.moments.labels) else None,
        probe=probe_of(pairs, heard_later, seen_later, reader),
        skipped=heard.moments.skipped | seen.moments.skipped,
        remarks=remarks(pairs, heard_later, seen_later),
        exhibits=lambda model: exhibits(pairs, heard_later, seen_later, model),
        steps=4000,
        batch_size=min(64, len(pairs)),
    )
