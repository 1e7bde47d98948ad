"""Pictures in a folder: two random views of one picture belong together.

A crop of a picture, its mirror image, its colours shifted or its edges blurred: still the same
thing. Two such random views of one picture are a positive pair; every other picture of the batch
is a negative. An encoder that finds the partner has learned what survives the changes, which is
what the picture shows. No label is needed; sub-folder names serve for evaluation only.
(Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations.)
"""

from __future__ import annotations

from nearfar.encoders import ProjectionHead, choose_image_encoder
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Embedding, Model
from nearfar.pairs import ImageFolder, ImageReader, PicturePairs, simclr_views
from nearfar.probes import held_out


def images(
    path: str,
    size: int | None = None,
    encoder: str = "resnet",
    weights: bool = True,
    temperature: float = 0.2,
    final_temperature: float | None = None,
    learn_temperature: bool = False,
    decoupled: bool = False,
    rotate: float = 0.0,
    crop: float = 0.2,
    colour: float = 0.4,
    embedding: Embedding = "encoder",
) -> Experiment:
    """Learn from a folder of pictures.

    Args:
        path: Folder of pictures, nested or flat; JPEG, PNG and others, any size, grey or colour.
        size: Side in pixels that the encoder sees; by default the pictures' own, 32 to 64.
        encoder: resnet (small, for small pictures), or a Hugging Face vision model: name or folder.
        weights: Start a Hugging Face model from its trained weights.
        temperature: How sharply hard negatives are weighted; low is sharp.
        final_temperature: Move the temperature to this one along a cosine.
        learn_temperature: Learn the temperature with the encoder.
        decoupled: Leave the positive out of the denominator; helps at small batches.
        rotate: Views are turned by up to this many degrees either way.
        crop: Smallest share of the area that a random crop keeps.
        colour: Strength of the colour changes; 0 where colour is what matters.
        embedding: Embed with the encoder's vector, or with the projection head's.
    """
    folder = ImageFolder(path, size)
    reader = ImageReader(folder.size)
    network = choose_image_encoder(encoder, weights=weights)
    tau = Temperature(temperature, final=final_temperature, learnable=learn_temperature)
    views = simclr_views(reader.size, rotate=rotate, crop=crop, colour=colour)
    return Experiment(
        model=Model(reader, network, ProjectionHead(network.dim), embedding),
        pairs=PicturePairs(folder.pixels, views, reader, folder.names, folder.ids),
        objective=NTXentLoss(tau, decoupled=decoupled),
        temperature=tau,
        inputs=folder.files,
        labels=folder.labels,
        probe=held_out(folder.files, folder.labels),
        skipped=folder.skipped,
        steps=6500,
    )
