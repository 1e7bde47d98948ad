"""The critic of a Gaussian copula, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the variances, which are about 1: columns may repeat each other.
_RIDGE = 1e-3


@dataclass(frozen=True)
class GaussianCritic:
    """log p(x, y) / (p(x) p(y)) of jointly normal x and y.

    In canonical variables u and v (Hotelling 1936), which are uncorrelated but for the pairs
    (u_k, v_k) with correlation r_k, it is the sum over k of

        (r_k u_k v_k - r_k^2 (u_k^2 + v_k^2) / 2) / (1 - r_k^2) - log(1 - r_k^2) / 2

    Attributes:
        to_u: (DX, K).
        to_v: (DY, K).
        correlation: (K,), falling.
    """

    to_u: Tensor
    to_v: Tensor
    correlation: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> GaussianCritic:
        """Of (N, DX) and (N, DY) training rows with mean 0."""
        roots = [_root(side.T @ side / len(side)) for side in (x, y)]
        cross = torch.linalg.solve_triangular(roots[0], x.T @ y / len(x), upper=False)
        cross = torch.linalg.solve_triangular(roots[1], cross.T, upper=False).T
        left, correlation, right = torch.linalg.svd(cross, full_matrices=False)
        to_u = torch.linalg.solve_triangular(roots[0].T, left, upper=True)
        to_v = torch.linalg.solve_triangular(roots[1].T, right.T, upper=True)
        return cls(to_u, to_v, correlation.clamp(max=1 - _RIDGE))

    def first(self, count: int) -> GaussianCritic:
        """The strongest ``count`` correlations alone: the others may be chance."""
        return GaussianCritic(self.to_u[:, :count], self.to_v[:, :count], self.correlation[:count])

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """(N, M) scores of (N, DX) anchors with (M, DY) candidates."""
        r, rest = self.correlation, 1 - self.correlation.square()
        u, v = x @ self.to_u, y @ self.to_v
        own_x, own_y = (side.square() @ (r.square() / rest) / 2 for side in (u, v))
        return (u * (r / rest)) @ v.T - own_x[:, None] - own_y - rest.log().sum() / 2


def _root(covariance: Tensor) -> Tensor:
    """Its Cholesky factor."""
    ridge = _RIDGE * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    root: Tensor = torch.linalg.cholesky(covariance + ridge)
    return root
