"""Pictures to normalised pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.errors import NearfarError
from nearfar.pairs._decode import quietly, read_picture
from nearfar.pairs._folder import ImageFolder
from nearfar.pairs._reader import Inputs, Reader
from nearfar.probes import Embed, Vectors

# The usual channel statistics; pretrained vision models expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ImageReader(Reader):
    """Pictures: paths, Pillow images or (H, W), (H, W, 1 to 4) arrays of uint8 or floats in 0..1.

    The shorter side is scaled to ``size`` and the middle square is taken.

    Args:
        size: Side in pixels of what the encoder sees.

    Example:
        >>> import numpy as np
        >>> ImageReader(size=8).read([np.zeros((20, 30), dtype=np.uint8)]).shape
        torch.Size([1, 3, 8, 8])
    """

    example = "QUERY.jpg"

    def __init__(self, size: int = 32) -> None:
        if size < 8:
            raise NearfarError(f"size={size} is too small a picture to encode; wanted 8 or more.")
        self.size = size
        self.settings = {"size": size}

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, 3, size, size) uint8.

        Raises:
            NearfarError: An input that is no picture; it names the input.
        """
        if not len(inputs):
            return torch.empty((0, 3, self.size, self.size), dtype=torch.uint8)
        with quietly():
            return torch.stack([read_picture(item, self.size) for item in inputs])

    def prepare(self, batch: Tensor) -> Tensor:
        """(N, 3, H, W), uint8 or floats in 0..1, to normalised floats, channels last."""
        x = batch.float() / 255 if batch.dtype == torch.uint8 else batch
        mean, std = x.new_tensor(_MEAN).view(3, 1, 1), x.new_tensor(_STD).view(3, 1, 1)
        return ((x - mean) / std).contiguous(memory_format=torch.channels_last)

    def find(self, path: str) -> Inputs:
        """The pictures of a folder; sub-folders are labels, copies are a group."""
        folder = ImageFolder(path, self.size, detail=1)
        pixels = list(folder.pixels.permute(0, 2, 3, 1).numpy())
        copies = folder.ids.tolist()
        return Inputs(
            folder.names, pixels, folder.labels, folder.skipped, folder.remarks, groups=copies
        )

    def baselines(self) -> dict[str, Embed]:
        """The picture's pixels, at most 16 x 16 of them, (N, 768)."""

        def pixels(inputs: Sequence[Any]) -> Vectors:
            x = self.read(inputs).float() / 255
            small: Vectors = functional.adaptive_avg_pool2d(x, min(16, self.size)).numpy()
            return small.reshape(len(small), -1)

        return {"raw input": pixels}

    def pictures(self, inputs: Sequence[Any]) -> Tensor:
        """(N, size, size, 3) uint8: what the encoder sees."""
        return self.read(inputs).permute(0, 2, 3, 1)
