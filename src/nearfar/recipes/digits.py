"""Handwritten digits seen crookedly: the demonstration, on data that come with scikit-learn.

A digit that is turned, shifted or scaled is still the same digit. Training sees 1,347 digits and
no label; two crooked views of one digit are a pair. The test turns, shifts and scales other digits
in ways that were never seen, and asks a classifier to name them.
"""

from __future__ import annotations

import numpy as np
import torch

from nearfar.encoders import ProjectionHead, ResNet
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Model
from nearfar.pairs import ImageReader, PicturePairs, crooked_views, seeded
from nearfar.probes import Labelled


def digits(
    temperature: float = 0.2,
    final_temperature: float | None = None,
    learn_temperature: bool = False,
    rotate: float = 45.0,
    shift: float = 0.2,
    scale: float = 0.25,
) -> Experiment:
    """Learn crooked digits.

    Args:
        temperature: How sharply hard negatives are weighted.
        final_temperature: Move the temperature to this one along a cosine.
        learn_temperature: Learn the temperature with the encoder.
        rotate: Largest rotation in degrees.
        shift: Largest shift, as a share of the side.
        scale: Largest relative change of size.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pictures, labels = load_digits(return_X_y=True)
    arrays = (pictures.reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8)
    reader = ImageReader(16)
    pixels = reader.read(list(arrays))
    views = crooked_views(rotate, shift, scale)
    train, test = train_test_split(
        np.arange(len(pixels)), test_size=0.25, stratify=labels, random_state=0
    )
    with seeded(0):
        crooked = (views(pixels.float() / 255) * 255).round().to(torch.uint8)
    seen = crooked.permute(0, 2, 3, 1).numpy()
    words = np.array([str(label) for label in labels])
    # Half the default's widths: digits need no more, and a step takes a third of the time.
    network = ResNet((32, 64, 128))
    tau = Temperature(temperature, final=final_temperature, learnable=learn_temperature)
    return Experiment(
        model=Model(reader, network, ProjectionHead(network.dim)),
        pairs=PicturePairs(pixels[train], views, reader, [f"digit {row}" for row in train]),
        objective=NTXentLoss(tau),
        temperature=tau,
        inputs=list(seen[train]),
        labels=list(words[train]),
        probe=Labelled(
            gallery=list(seen[train]),
            gallery_labels=list(words[train]),
            queries=list(seen[test]),
            query_labels=list(words[test]),
        ),
        steps=2000,
    )
