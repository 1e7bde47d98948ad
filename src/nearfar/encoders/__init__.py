"""Who looks: networks that turn an input into a vector, and the heads that training puts on top."""

from nearfar.encoders._batch_norm import BatchNormOverRanks, synchronised
from nearfar.encoders._choose import choose_image_encoder
from nearfar.encoders._dna_conv import ReadConv
from nearfar.encoders._dna_kmers import KmerBag
from nearfar.encoders._encoder import Encoder
from nearfar.encoders._gcn import GCN
from nearfar.encoders._heads import ProjectionHead
from nearfar.encoders._huggingface import HuggingFace
from nearfar.encoders._resnet import ResNet
from nearfar.encoders._rotation import RingNet, TurnedResNet

__all__ = [
    "GCN",
    "BatchNormOverRanks",
    "Encoder",
    "HuggingFace",
    "KmerBag",
    "ProjectionHead",
    "ReadConv",
    "ResNet",
    "RingNet",
    "TurnedResNet",
    "choose_image_encoder",
    "synchronised",
]
