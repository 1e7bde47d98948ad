"""Micrographs: a grain and a turned view of it are one piece of matter.

A microscope's stage has no up. A place of a specimen seen at two angles, its centre a little off,
is a positive pair; places of other grains are negatives. Both views are sampled on turned grids
from the full map, so no corner is empty and none is mirrored, and both are interpolated, so that
blur is no cue; the same disk is laid over both. Mirror images and other magnifications are
different matter and stay out unless they are asked for.
(Rotation is a symmetry of what is looked at: Cohen & Welling 2016, arXiv 1602.07576, section 1.
The loss: Chen et al. 2020, arXiv 2002.05709, equation 1.)
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from nearfar.encoders import RingNet, TurnedResNet
from nearfar.errors import check_range
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Model
from nearfar.pairs.micrographs import (
    MicrographReader,
    TurnedPairs,
    most_channels,
    places,
    split,
)
from nearfar.recipes._micrograph_exhibits import exhibits, remarks


def micrographs(
    path: str,
    channel: str | None = None,
    hold_out: str | None = None,
    encoder: Literal["rings", "resnet"] = "rings",
    turns: int = 1,
    size: int = 32,
    window: float | None = None,
    smallest: int = 60,
    shift: float = 0.05,
    noise: float = 0.02,
    wander: float = 0.5,
    mirror: bool = False,
    scale: float = 0.0,
    temperature: float = 0.1,
) -> Experiment:
    """Learn from micrographs or from maps with their grains.

    Args:
        path: Folder of micrographs (TIFF, PNG, JPEG) or of maps with grains (.npz, EBSD), or one.
        channel: Image of a map that holds several (quality, ipf_z); shape for outlines of grains.
        hold_out: Name of a map or sub-folder that training leaves out and the table is about.
        encoder: rings (spectra of rings: cannot see how a thing is turned) or resnet (learns it).
        turns: Embed with the mean over this many angles; 8 helps resnet.
        size: Side in pixels that is sampled from a window.
        window: Side of a window in the map's pixels; by default 1.5 times the root of a grain's
            area, and for tiles 64.
        smallest: Pixels of the smallest grain.
        shift: A view's centre is off by up to this share of the window.
        noise: Deviation of the noise on each view; pixels lie in 0..1.
        wander: Share of the draws that look at another place of the grain or tile.
        mirror: Views may be mirror images: not for matter with a handedness.
        scale: Views are magnified by up to this share; magnification is physical, so 0.
        temperature: How sharply hard negatives are weighted; low is sharp.
    """
    check_range(0, noise=noise)
    check_range(0, 1, shift=shift, wander=wander)
    check_range(0, 1, "[)", scale=scale)
    tau = Temperature(temperature)
    reader = MicrographReader(
        most_channels(path, channel),
        channel,
        size,
        window,
        smallest,
        "rings" if encoder == "rings" else "pixels",
        turns,
    )
    training, _ = split(places(reader, path, inside=False), hold_out)
    found, held = split(places(reader, path, inside=True), hold_out)
    pairs = TurnedPairs(
        training,
        reader,
        size=size,
        shift=shift,
        noise=noise,
        wander=wander,
        mirror=mirror,
        scale=scale,
    )
    network = RingNet(reader.dim) if encoder == "rings" else TurnedResNet(reader.channels)
    return Experiment(
        # No projection head: what the views change is what the embedding itself must forget.
        model=Model(reader, network),
        pairs=pairs,
        objective=NTXentLoss(tau),
        temperature=tau,
        inputs=training.inputs.items,
        labels=training.inputs.labels,
        probe=reader.probe(found.inputs, held.inputs if held else None),
        skipped=training.inputs.skipped,
        remarks=remarks(training, pairs, channel, held is not None),
        exhibits=partial(exhibits, (held or found).inputs),
        steps=300,
        batch_size=min(256, len(pairs)),
    )
