"""The feature map of any vision model of Hugging Face as a dense encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._dense import DenseConv, DenseEncoder
from nearfar.encoders._huggingface import HuggingFace


class DenseHuggingFace(DenseEncoder):
    """The last hidden state of a vision backbone, narrowed to ``dim`` by a linear layer.

    Convolutional models give their last map, transformers their patches' tokens. Position
    embeddings tell such a model where a pixel is; the shortcut test says how much it uses them.

    Args:
        config: The model's configuration as plain JSON (``model_type`` names the architecture).
        dim: Width of a vector.
        side: Side in pixels of a square picture with which a map's stride is found.
    """

    def __init__(self, config: dict[str, Any], dim: int = 64, side: int = 128) -> None:
        super().__init__()
        self.settings = {"config": config, "dim": dim, "side": side}
        self.dim = dim
        self.backbone = HuggingFace(config)
        self._patch = int(config.get("patch_size") or 0)
        self.out = nn.Conv2d(self.backbone.dim, dim, 1)
        self.eval()
        with torch.no_grad():
            last = self._last(torch.zeros(1, 3, side, side))
        cells = self._map_of(last, (side, side))
        if last.ndim == 4:
            self.stride = round(side / cells.shape[-1])
            self.offset = self._first_centre()
        else:
            self.stride, self.offset = self._patch, (self._patch - 1) / 2
        self.train()

    @classmethod
    def load(cls, name: str, *, weights: bool, dim: int = 64) -> DenseHuggingFace:
        """Build from a model's name on the hub or from a local folder.

        Args:
            name: ``microsoft/resnet-18``, or a folder with ``config.json``.
            weights: Start from the trained weights; otherwise only the architecture is taken.
            dim: Width of a vector.

        Raises:
            NearfarError: There is no such model, or it cannot be reached.
        """
        loaded = HuggingFace.load(name, weights=weights, known=["conv"])
        encoder = cls(loaded.settings["config"], dim)
        encoder.backbone.load_state_dict(loaded.state_dict())
        return encoder

    @torch.enable_grad()
    def _first_centre(self) -> float:
        """Where the first cell of a map is centred: on the first pixel, or amid the first pixels.

        Padded convolutions do the one (ResNet), patches the other (ConvNeXt). The pixels that an
        inner cell depends on tell them apart; whatever the weights, it is one of the two.
        """
        side, draw = 8 * self.stride, torch.Generator().manual_seed(0)
        x = torch.rand(1, 3, side, side, generator=draw).requires_grad_()
        cells = self._last(x)[0]
        mix = torch.randn(len(cells), generator=draw)
        (slope,) = torch.autograd.grad(mix @ cells[:, 4, 4], x)
        weight = slope.abs().sum((0, 1, 2))
        centre = float(weight @ torch.arange(side).float() / weight.sum()) - 4 * self.stride
        amid = (self.stride - 1) / 2
        return amid if centre > amid / 2 else 0.0

    def map(self, pictures: Tensor) -> Tensor:
        last = self._last((pictures - 0.45) / 0.225)
        out: Tensor = self.out(self._map_of(last, pictures.shape[2:]))
        return out

    def _last(self, x: Tensor) -> Tensor:
        """The last hidden state: a map, or tokens."""
        height, width = x.shape[2:]
        if self._patch:
            more = (0, -width % self._patch, 0, -height % self._patch)
            x = functional.pad(x, more, mode="replicate")
        own = {"interpolate_pos_encoding": True} if self._patch else {}
        last: Tensor = self.backbone.model(pixel_values=x, **own).last_hidden_state
        return last

    def _map_of(self, last: Tensor, shape: Sequence[int]) -> Tensor:
        if last.ndim == 4:
            return last
        rows, columns = (-(-length // self._patch) for length in shape)
        # The class token and its like stand in front.
        tokens = last[:, -rows * columns :]
        return tokens.transpose(1, 2).reshape(len(last), -1, rows, columns)


def choose_dense_encoder(
    name: str = "conv", *, dim: int = 64, width: int = 96, weights: bool = True
) -> DenseEncoder:
    """``conv`` is nearfar's own small one; any other name is a Hugging Face vision model.

    Args:
        name: ``conv``, a hub name, or a local folder.
        dim: Width of a vector.
        width: Channels inside of ``conv``.
        weights: For Hugging Face models: start from the trained weights.

    Raises:
        NearfarError: A Hugging Face model that cannot be loaded.
    """
    if name == "conv":
        return DenseConv(dim, width)
    return DenseHuggingFace.load(name, weights=weights, dim=dim)
