"""Sentences as bags of subwords: fast, and blind to the order of words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder
from nearfar.errors import NearfarError


class SubwordBag(Encoder):
    """The mean of a sentence's subword vectors.

    Args:
        vocabulary: Subwords.
        dim: Width of a vector.
        pad: The padding's number; it counts for nothing.

    Raises:
        NearfarError: A padding outside the vocabulary.

    Shapes:
        (N, L) int64 subwords -> (N, dim)

    Example:
        >>> bag = SubwordBag(50, dim=4)
        >>> torch.allclose(bag(torch.tensor([[7, 8, 9, 0]])), bag(torch.tensor([[9, 7, 8]])))
        True
    """

    def __init__(self, vocabulary: int, dim: int = 256, pad: int = 0) -> None:
        super().__init__()
        if not 0 <= pad < vocabulary:
            raise NearfarError(
                f"pad={pad}, vocabulary={vocabulary}: wanted a padding inside the vocabulary."
            )
        self.settings = {"vocabulary": vocabulary, "dim": dim, "pad": pad}
        self.dim, self.pad = dim, pad
        self.table = nn.EmbeddingBag(vocabulary, dim, mode="sum", padding_idx=pad)
        nn.init.normal_(self.table.weight, std=0.1)
        with torch.no_grad():
            self.table.weight[pad].zero_()

    @property
    def words(self) -> Tensor:
        """(vocabulary, dim) vectors of the subwords."""
        return self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.table(x)
        return total / (x != self.pad).sum(1, keepdim=True).clamp_min(1)
