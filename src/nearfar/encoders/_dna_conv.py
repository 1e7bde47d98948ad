"""Convolutions over reads, and three ways not to care which strand a read is from."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder
from nearfar.errors import NearfarError

Strand = Literal["learned", "average", "exact"]
# Positions in memory at a time while embedding.
_MOST = 2**19


class ReadConv(Encoder):
    """Two convolutions, the mean over the read's positions, and a small network.

    Args:
        strand: ``learned``: one strand is seen, and training shows both (invariance as good as it
            is learned). ``average``: the mean of both strands' vectors, the "post-hoc conjoined"
            network that Zhou, Shrikumar & Kundaje 2022 (PMLR 165) found best or second best.
            ``exact``: every filter comes with its reverse complement, so that the other strand
            gives the same channels backwards, and the pooling adds a channel to its partner
            (Shrikumar et al. 2017, bioRxiv 103663). Half the products of ``average``.
        width: Channels, even.
        kernel: Positions that a filter of the first layer sees, odd.
        dim: Width of the embedding.

    Shapes:
        (N, L) uint8 codes (A = 1, C = 2, G = 4, T = 8, sets their sum, 0 for padding) -> (N, dim)

    Raises:
        NearfarError: Another strand mode, an odd width or an even kernel.
    """

    def __init__(
        self, strand: Strand = "average", width: int = 64, kernel: int = 13, dim: int = 64
    ) -> None:
        super().__init__()
        if strand not in ("learned", "average", "exact"):
            raise NearfarError(f"strand={strand!r}: wanted learned, average or exact.")
        if width % 2 or not kernel % 2:
            raise NearfarError(
                f"width={width}, kernel={kernel}: wanted an even width, whose halves are the two "
                "strands, and an odd kernel, which has a middle."
            )
        self.settings = {"strand": strand, "width": width, "kernel": kernel, "dim": dim}
        self.strand, self.dim = strand, dim
        tied = strand == "exact"
        self.layers = nn.ModuleList([_Conv(4, width, kernel, tied), _Conv(width, width, 5, tied)])
        pooled = width // 2 if tied else width
        self.body = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Linear(pooled, 2 * width),
            nn.BatchNorm1d(2 * width),
            nn.ReLU(),
            nn.Linear(2 * width, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.training or x.numel() <= _MOST:
            return self._whole(x)
        rows = max(1, _MOST // x.shape[1])
        return torch.cat([self._whole(part) for part in torch.split(x, rows)])

    def _whole(self, x: Tensor) -> Tensor:
        x = functional.pad(x, (0, max(0, 1 - x.shape[1])))  # where all reads are empty
        read, inside = _one_hot(x), (x != 0)[:, None, None]
        vectors: Tensor = self.body(self._pooled(read, inside))
        if self.strand == "average":
            # Complement and direction turned; the padding, now in front, is masked as before.
            other = self._pooled(read.flip(1, 3), inside.flip(3))
            vectors = (vectors + self.body(other)) / 2
        return vectors

    def _pooled(self, x: Tensor, inside: Tensor) -> Tensor:
        """Channels' means over the (N, 1, 1, L) positions inside a read.

        What lies outside is zero before every layer, at both ends alike: padding cannot tell the
        strands apart.
        """
        for layer in self.layers:
            x = functional.relu(layer(x)) * inside
        mean = x.sum((2, 3)) / inside.sum((2, 3)).clamp_min(1)
        return mean if self.strand != "exact" else (mean + mean.flip(1)).chunk(2, 1)[0]


class _Conv(nn.Module):
    """A convolution along the read; tied, the second half of its filters complements the first.

    Channels are in mirror order, as A, C, G, T are: channel i and channel C - 1 - i see the two
    strands of one pattern. One row high, because CPUs multiply four-dimensional tensors with their
    channels last several times faster than three-dimensional ones.
    """

    def __init__(self, width_in: int, width: int, kernel: int, tied: bool) -> None:
        super().__init__()
        self.tied = tied
        self.conv = nn.Conv2d(width_in, width // 2 if tied else width, (1, kernel))
        self.padding = (0, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        if self.tied:
            weight = torch.cat([weight, weight.flip(0, 1, 3)])
            bias = torch.cat([bias, bias.flip(0)])
        return functional.conv2d(x, weight, bias, padding=self.padding)


def _one_hot(x: Tensor) -> Tensor:
    """(N, L) sets of bases to (N, 4, 1, L), channels last: each set's share of A, C, G and T."""
    bits = (x[..., None] >> torch.arange(4, device=x.device, dtype=torch.uint8)) & 1
    share = bits / bits.sum(-1, keepdim=True).clamp_min(1)
    return share[:, None].permute(0, 3, 1, 2)
