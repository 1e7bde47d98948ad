"""Who looks: networks that turn an input into a vector, and the heads that training puts on top."""

from nearfar.encoders._batch_norm import BatchNormOverRanks, synchronised
from nearfar.encoders._choose import choose_image_encoder
from nearfar.encoders._encoder import Encoder
from nearfar.encoders._heads import ProjectionHead
from nearfar.encoders._huggingface import HuggingFace
from nearfar.encoders._resnet import ResNet

__all__ = [
    "BatchNormOverRanks",
    "Encoder",
    "HuggingFace",
    "ProjectionHead",
    "ResNet",
    "choose_image_encoder",
    "synchronised",
]
