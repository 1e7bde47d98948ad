"""The shape of the space: alignment, uniformity, effective rank, and whether it has collapsed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.loss.push import Crowd, Game, push

# A direction with less than this share of the mean variance is not in use.
UNUSED = 1e-3


def alignment(query: Tensor, key: Tensor) -> Tensor:
    """Mean squared distance of partners; 0 when every pair coincides.

    ``E |q - k|^2`` on the unit sphere (Wang & Isola 2020, equation 1, alpha = 2).

    Args:
        query: (N, D) unit vectors.
        key: (N, D) unit vectors, row i the partner of query i.

    Example:
        >>> float(alignment(torch.eye(3), torch.eye(3)))
        0.0
    """
    return (query - key).square().sum(1).mean()


def uniformity(vectors: Tensor) -> Tensor:
    """How evenly vectors spread over the sphere; 0 when all coincide, lower is more even.

    ``log E exp(-2 |x - y|^2)`` over pairs of different rows (Wang & Isola 2020, equation 2, t = 2):
    on the sphere -4 + log E exp(4 x . y), by the loss's own pass, which stores no matrix.

    Args:
        vectors: (N, D) unit vectors, N >= 2.

    Example:
        >>> round(float(uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))), 3)
        -8.0
    """
    number = len(vectors)
    row = torch.arange(number, device=vectors.device)
    crowd = Crowd(row_id=row, column_id=row)
    scale = torch.tensor(4.0, dtype=vectors.dtype, device=vectors.device)
    log, _ = push(Game(query=vectors, key=None, scale=scale, crowd=crowd))
    return log.logsumexp(0) - math.log(number * (number - 1)) - 4


def effective_rank(vectors: Tensor) -> Tensor:
    """The number of directions that are in use: exp of the entropy of the singular values.

    Roy & Vetterli 2007, on the centred vectors; near 1 means collapse, D is the most.

    Args:
        vectors: (N, D), N >= 2.
    """
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()


@dataclass(frozen=True, kw_only=True)
class Health:
    """Whether an embedding is alive.

    Attributes:
        finite: Share of rows without NaN and infinity; the rest is of these rows.
        effective_rank: See `effective_rank`.
        dimensions: D.
        unused: Dimensions whose variance is below `UNUSED` of the mean variance.
        uniformity: See `uniformity`, of the rows at length one.
    """

    finite: float
    effective_rank: float
    dimensions: int
    unused: int
    uniformity: float

    @property
    def warnings(self) -> list[str]:
        """What is wrong, each in one sentence; empty if nothing is."""
        said = []
        if self.finite < 1:
            said.append(
                f"{1 - self.finite:.1%} of the embeddings hold a NaN or an infinity: lower the "
                "learning rate or clip gradients."
            )
        if self.uniformity > -0.1:
            said.append(
                "All embeddings point the same way (uniformity "
                f"{self.uniformity:.2f}): the encoder has collapsed. More negatives, a lower "
                "temperature, or a lower learning rate."
            )
        # Below 0.3 of the smaller of D and 10, directions are missing that data have.
        elif self.effective_rank < 0.3 * min(self.dimensions, 10):
            said.append(
                f"Only about {self.effective_rank:.1f} of {self.dimensions} directions are in use: "
                "dimensional collapse (Jing et al. 2022). Stronger views or a projection head help."
            )
        if self.unused > self.dimensions // 2:
            said.append(f"{self.unused} of {self.dimensions} dimensions hardly vary.")
        return said


@torch.no_grad()
def health(vectors: Tensor) -> Health:
    """Look for collapse: rank, dimension-wise variance, uniformity, numbers that are none.

    Args:
        vectors: (N, D), N >= 2, of any length.

    Example:
        >>> health(torch.ones(8, 4)).warnings[0][:34]
        'All embeddings point the same way '
    """
    vectors = vectors.detach().float()
    fine = vectors.isfinite().all(1)
    rows = vectors[fine]
    if len(rows) < 2:
        nothing = float(fine.float().mean())
        return Health(
            finite=nothing,
            effective_rank=1.0,
            dimensions=vectors.shape[1],
            unused=vectors.shape[1],
            uniformity=0.0,
        )
    variance = rows.var(0, correction=0)
    limit = UNUSED * variance.mean().clamp_min(torch.finfo(variance.dtype).tiny)
    return Health(
        finite=float(fine.float().mean()),
        effective_rank=effective_rank(rows).item(),
        dimensions=rows.shape[1],
        unused=int((variance < limit).sum()),
        uniformity=uniformity(torch.nn.functional.normalize(rows, dim=1)).item(),
    )
