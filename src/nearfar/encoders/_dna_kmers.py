"""Reads as bags of k-mers, each k-mer and its reverse complement one learned vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder
from nearfar.errors import NearfarError


class KmerBag(Encoder):
    """The sum of a read's k-mer vectors, and a small network if wanted.

    A learned counterpart of the k-mer profile that tells genomes apart (Karlin & Burge 1995), wide
    enough a table for k-mers that no profile of a few hundred numbers can hold. A k-mer and its
    reverse complement look up the same row, so that strand cannot matter, at any length and behind
    any padding. A k-mer with an ambiguous letter counts for nothing.

    Args:
        k: Letters of a k-mer; the table has about 4^k / 2 rows.
        width: Numbers of a row, and of the network's hidden layer; 0 for rows of ``dim`` numbers
            and no network: their sum is the embedding.
        dim: Width of the embedding.

    Raises:
        NearfarError: A ``k`` that is not between 1 and 10.

    Shapes:
        (N, L) uint8 codes (A = 1, C = 2, G = 4, T = 8, sets their sum, 0 for padding) -> (N, dim)

    Example:
        >>> encoder = KmerBag(k=2, width=8, dim=4)
        >>> read, other = torch.tensor([[1, 1, 2, 4]]), torch.tensor([[2, 4, 8, 8]])  # AACG, CGTT
        >>> torch.allclose(encoder(read), encoder(other))
        True
    """

    number: Tensor
    digit: Tensor

    def __init__(self, k: int = 7, width: int = 128, dim: int = 64) -> None:
        super().__init__()
        if not 1 <= k <= 10:
            raise NearfarError(f"k={k}: wanted the letters of a k-mer, 1 to 10; 6 to 8 is usual.")
        self.settings = {"k": k, "width": width, "dim": dim}
        self.k, self.dim = k, dim
        number = _canonical(k)
        nothing = int(number.max()) + 1
        # A window with an ambiguous letter has a code of 4^k or more, and counts for nothing.
        self.register_buffer("number", functional.pad(number, (0, 1), value=nothing), False)
        self.register_buffer("digit", torch.full((16,), 4**k), False)
        self.digit[[1, 2, 4, 8]] = torch.arange(4)
        self.table = nn.EmbeddingBag(nothing + 1, width or dim, mode="sum", padding_idx=nothing)
        # Small rows: what an optimiser's step adds then soon outweighs where they began.
        nn.init.normal_(self.table.weight, std=0.05)
        with torch.no_grad():
            self.table.weight[nothing].zero_()
        self.body = _network(width, dim) if width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        kmers = self.number[self.codes(x)]
        counted = (kmers < self.table.num_embeddings - 1).sum(1, keepdim=True)
        out: Tensor = self.body(self.table(kmers) / counted.clamp_min(1).sqrt())
        return out

    def codes(self, x: Tensor) -> Tensor:
        """(N, L) to (N, windows) in base 4; 4^k where a window holds no k-mer of bases."""
        digits = self.digit[functional.pad(x, (0, max(0, self.k - x.shape[1]))).int()]
        windows = digits.shape[1] - self.k + 1
        code = digits[:, :windows]
        for shift in range(1, self.k):
            code = code * 4 + digits[:, shift : shift + windows]
        return code.clamp_max(4**self.k)


def _network(width: int, dim: int) -> nn.Module:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.LayerNorm(width),
        nn.ReLU(),
        nn.Linear(width, dim),
    )


def _canonical(k: int) -> Tensor:
    """(4^k,) number of each k-mer among those that differ up to reverse complement."""
    code = torch.arange(4**k)
    other, rest = torch.zeros_like(code), code
    for _ in range(k):
        other, rest = other * 4 + 3 - rest % 4, rest // 4
    number: Tensor = torch.unique(torch.minimum(code, other), return_inverse=True)[1]
    return number
