"""From the word a user types to an encoder."""

from __future__ import annotations

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._huggingface import HuggingFace
from nearfar.encoders._resnet import ResNet


def choose_image_encoder(name: str = "resnet", *, weights: bool = True) -> Encoder:
    """``resnet`` is nearfar's own small one; any other name is a Hugging Face vision model.

    Args:
        name: ``resnet``, a hub name such as ``microsoft/resnet-18``, or a local folder.
        weights: For Hugging Face models: start from the trained weights.

    Raises:
        NearfarError: A Hugging Face model that cannot be loaded.
    """
    return ResNet() if name == "resnet" else HuggingFace.load(name, weights=weights)
