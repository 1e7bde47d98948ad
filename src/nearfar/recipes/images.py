"""Pictures in a folder: two random views of one picture belong together.

A crop of a picture, its mirror image, its colours shifted or its edges blurred: still the same
thing. Two such random views of one picture are a positive pair; every other picture of the batch
is a negative. An encoder that finds the partner has learned what survives the changes, which is
what the picture shows. No label is needed; sub-folder names serve for evaluation only, unless
cross-entropy on a share of them is asked for beside the game.
(Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations.)
"""

from __future__ import annotations

from typing import Literal

from nearfar.encoders import ProjectionHead, choose_image_encoder
from nearfar.errors import NearfarError, check_range
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Embedding, Model, holds_model, load
from nearfar.pairs import ImageFolder, ImageReader, PicturePairs, simclr_views
from nearfar.probes import held_out
from nearfar.recipes._label_objective import classifier_exhibit, label_objective


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
    objective: Literal["info_nce", "info_nce+cross_entropy", "cross_entropy"] = "info_nce",
    labels_fraction: float = 0.1,
    label_weight: float = 1.0,
) -> Experiment:
    """Learn from a folder of pictures.

    Args:
        path: Folder of pictures, nested or flat; JPEG, PNG and others, any size, grey or colour.
        size: Side in pixels that the encoder sees; by default the pictures' own, 32 to 64.
        encoder: resnet (small, for small pictures), a run folder whose encoder trains on, or a
            Hugging Face vision model: name or folder.
        weights: Start a Hugging Face model from its trained weights.
        temperature: How sharply hard negatives are weighted; low is sharp.
        final_temperature: Move the temperature to this one along a cosine.
        learn_temperature: Learn the temperature with the encoder.
        decoupled: Leave the positive out of the denominator; helps at small batches.
        rotate: Views are turned by up to this many degrees either way.
        crop: Smallest share of the area that a random crop keeps.
        colour: Strength of the colour changes; 0 where colour is what matters.
        embedding: Embed with the encoder's vector, or with the projection head's.
        objective: info_nce learns without labels; cross_entropy learns from some, beside it or
            alone.
        labels_fraction: Share of the labels that cross_entropy may see; never those of the items
            that the evaluation holds out.
        label_weight: Cross-entropy is multiplied by this.
    """
    check_range(8, size=size)
    check_range(0, label_weight=label_weight)
    tau = Temperature(temperature, final=final_temperature, learnable=learn_temperature)
    folder = ImageFolder(path, size)
    reader = ImageReader(folder.size)
    if holds_model(encoder):
        began = load(encoder)
        if not isinstance(began.reader, ImageReader):
            raise NearfarError(
                f"encoder={encoder!r} is a run that reads by {type(began.reader).__name__}; wanted "
                "one that reads pictures as this recipe does, such as one of `nearfar train "
                "images`, or resnet, or a Hugging Face vision model."
            )
        network = began.encoder
    else:
        network = choose_image_encoder(encoder, weights=weights)
    views = simclr_views(reader.size, rotate=rotate, crop=crop, colour=colour)
    ids = folder.ids
    probe = held_out(folder.files, folder.labels, groups=ids.tolist())
    auxiliaries = {}
    if objective != "info_nce":
        kept = set(probe.queries) if probe else set()
        known = [file not in kept for file in folder.files]
        auxiliaries["cross_entropy"] = label_objective(
            network.dim, ids, folder.labels, known, labels_fraction, label_weight
        )
    return Experiment(
        model=Model(reader, network, ProjectionHead(network.dim), embedding),
        pairs=PicturePairs(folder.pixels, views, reader, folder.names, ids),
        objective=NTXentLoss(tau, decoupled=decoupled),
        temperature=tau,
        auxiliaries=auxiliaries,
        contrastive_weight=0.0 if objective == "cross_entropy" else 1.0,
        inputs=folder.files,
        labels=folder.labels,
        probe=probe,
        skipped=folder.skipped,
        remarks=folder.remarks,
        exhibits=lambda model: [
            classifier_exhibit(one, model, probe) for one in auxiliaries.values() if probe
        ],
        steps=6500,
    )
