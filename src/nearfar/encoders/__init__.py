"""Who looks: networks that turn an input into a vector, and the heads that training puts on top."""

from nearfar.encoders._batch_norm import BatchNormOverRanks, synchronised
from nearfar.encoders._choose import choose_image_encoder
from nearfar.encoders._dense import DenseConv, DenseEncoder
from nearfar.encoders._dense_huggingface import DenseHuggingFace, choose_dense_encoder
from nearfar.encoders._dna_conv import ReadConv
from nearfar.encoders._dna_kmers import KmerBag
from nearfar.encoders._encoder import Encoder
from nearfar.encoders._gcn import GCN
from nearfar.encoders._generator import Generator
from nearfar.encoders._heads import ProjectionHead
from nearfar.encoders._huggingface import HuggingFace
from nearfar.encoders._huggingface_sound import HuggingFaceSound
from nearfar.encoders._log_mel import LogMel
from nearfar.encoders._picture_players import PictureCritic, PictureGenerator
from nearfar.encoders._point_mlp import PointGenerator, PointMLP
from nearfar.encoders._resnet import ResNet
from nearfar.encoders._rotation import RingNet, TurnedResNet
from nearfar.encoders._sentence import TextTransformer, small_config
from nearfar.encoders._sound_conv import SoundConv
from nearfar.encoders._subwords import SubwordBag
from nearfar.encoders._two_towers import TwoTowers

__all__ = [
    "GCN",
    "BatchNormOverRanks",
    "DenseConv",
    "DenseEncoder",
    "DenseHuggingFace",
    "Encoder",
    "Generator",
    "HuggingFace",
    "HuggingFaceSound",
    "KmerBag",
    "LogMel",
    "PictureCritic",
    "PictureGenerator",
    "PointGenerator",
    "PointMLP",
    "ProjectionHead",
    "ReadConv",
    "ResNet",
    "RingNet",
    "SoundConv",
    "SubwordBag",
    "TextTransformer",
    "TurnedResNet",
    "TwoTowers",
    "choose_dense_encoder",
    "choose_image_encoder",
    "small_config",
    "synchronised",
]
