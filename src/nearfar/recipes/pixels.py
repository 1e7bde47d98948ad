"""Pixels of a video: a pixel and where optical flow says it went belong together.

Classical optical flow knows where each pixel of a frame is in the next, for a few frames and as
long as nothing hides it. A pixel and the moved pixel, each shown in a view of its own, are a
positive pair; other pixels of the window and of other videos are negatives. What the flow loses
(it does not come back, its brightness changes, it has no texture) is left out. So the features
learn what a patch looks like while it moves and deforms, and find it again where chained flow has
drifted away. (Positives from flow: Xiong et al. 2021, arXiv 2011.08909, FlowE. From two views of
one frame: Pinheiro et al. 2020, arXiv 2011.05499, VADeR. The loss: van den Oord et al. 2018, arXiv
1807.03748, equation 4, both ways.)
"""

from __future__ import annotations

from functools import partial

from nearfar.encoders import choose_dense_encoder
from nearfar.errors import check_range
from nearfar.experiment import Experiment
from nearfar.loss import InfoNCE, Temperature
from nearfar.model import Model
from nearfar.pairs.pixels import Method, PixelPairs, PixelReader, Store
from nearfar.recipes._pixel_exhibits import exhibits, remarks


def pixels(
    path: str,
    hold_out: str | None = None,
    encoder: str = "conv",
    weights: bool = True,
    dim: int = 64,
    width: int = 96,
    flow: Method = "dis",
    gap: int = 4,
    checks: bool = True,
    size: int = 240,
    frames: int = 96,
    window: int = 128,
    places: int = 64,
    near: float = 6.0,
    ring: float = 0.0,
    rotate: float = 15.0,
    scale: float = 0.25,
    colour: float = 0.15,
    hide: float = 0.5,
    temperature: float = 0.07,
) -> Experiment:
    """Learn from videos.

    Args:
        path: A video, a folder of frames, or a folder of either, such as one of frames/ and masks/.
        hold_out: Videos that training leaves out and the table is about: names, with commas
            between, or patterns with *.
        encoder: conv (small, a vector every 4 pixels), or a Hugging Face vision model: name or
            folder.
        weights: Start a Hugging Face model from its trained weights.
        dim: Numbers of a pixel's vector.
        width: Channels inside of conv.
        flow: dis or farneback, by OpenCV.
        gap: Frames from a pixel to its partner, up to this many, by chaining; 0 takes both views
            from one frame, without any flow.
        checks: Leave out pixels that the flow loses, and those without texture.
        size: The shorter side of a frame is scaled down to this.
        frames: Most frames of a video; a longer one gives stretches, evenly spaced over it.
        window: Side in pixels of a view.
        places: Pixels that share a view.
        near: Pixels within this distance of the positive are no negatives.
        ring: Up to this many pixels around another one every second pixel is drawn, for harder
            negatives; 0 draws them anywhere.
        rotate: Views are turned by up to this many degrees either way.
        scale: Views are larger or smaller by up to this in the logarithm.
        colour: Strength of the colour changes.
        hide: Chance that a part of a view is hidden by another window.
        temperature: How sharply hard negatives are weighted; low is sharp.
    """
    check_range(1, dim=dim, width=width)
    check_range(2, frames=frames, places=places)
    check_range(16, window=window)
    check_range(0, gap=gap, near=near, ring=ring, scale=scale, colour=colour)
    check_range(0, 360, rotate=rotate)
    tau = Temperature(temperature)
    reader = PixelReader(size, flow)
    training, held = reader.footage(path).split(hold_out)
    store = Store([clip.video for clip in training.clips], frames)
    pairs = PixelPairs(
        store,
        side=window,
        pixels=places,
        gap=gap,
        flow=flow,
        checks=checks,
        near=near,
        ring=ring,
        rotate=rotate,
        scale=scale,
        colour=colour,
        hide=hide,
    )
    return Experiment(
        # No projection head: a pixel's vector itself must forget what the views change.
        model=Model(reader, choose_dense_encoder(encoder, dim=dim, width=width, weights=weights)),
        pairs=pairs,
        objective=InfoNCE(tau, symmetric=True),
        temperature=tau,
        inputs=pairs.spots,
        probe=reader.judge(held or training),
        skipped=training.skipped | store.skipped,
        remarks=remarks(pairs, held is not None),
        exhibits=partial(exhibits, store, flow),
        steps=900,
        batch_size=min(1024, len(pairs)),
        lr=2.5e-3,
    )
