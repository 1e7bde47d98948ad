"""The feature map of any vision model of Hugging Face as a dense encoder."""

from __future__ import annotations

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
        side: Side in pixels of a square picture with which the stride is found.
    """

    def __init__(self, config: dict[str, Any], dim: int = 64, side: int = 128) -> None:
        super().__init__()
        self.settings = {"config": config, "dim": dim, "side": side}
        self.dim = dim
        self.backbone = HuggingFace(config)
        self._patch = int(config.get("patch_size") or 0)
        self.out = nn.Conv2d(self.backbone.dim, dim, 1)
        with torch.no_grad():
            cells = self._hidden(torch.zeros(1, 3, side, side))
        self.stride = round(side / cells.shape[-1])
        self.offset = (self.stride - 1) / 2

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

    def map(self, pictures: Tensor) -> Tensor:
        out: Tensor = self.out(self._hidden((pictures - 0.45) / 0.225))
        return out

    def _hidden(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self._patch:
            more = (0, -width % self._patch, 0, -height % self._patch)
            x = functional.pad(x, more, mode="replicate")
        own = {"interpolate_pos_encoding": True} if self._patch else {}
        hidden: Tensor = self.backbone.model(pixel_values=x, **own).last_hidden_state
        if hidden.ndim == 4:
            return hidden
        rows, columns = (length // self._patch for length in x.shape[2:])
        # The class token and its like stand in front.
        tokens = hidden[:, -rows * columns :]
        return tokens.transpose(1, 2).reshape(len(x), -1, rows, columns)


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
