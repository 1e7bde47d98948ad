"""The linear opponent of two towers: canonical correlation of features that nobody learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.probes._scores import Embed, Vectors


class SharedDirections:
    """Directions of two kinds of features that go together in pairs (Hotelling 1936).

    Both sides are standardised and rotated to their principal components, of which as many are
    kept as half the pairs can carry, whitened, and turned so that their covariance is diagonal.

    Args:
        features: Inputs of either kind to numbers.
        first: N inputs of the first kind.
        second: N inputs of the second kind, row i the partner of the first's row i.
        is_first: Tells the kinds apart.
        dim: Directions that are kept.

    Example:
        >>> both = np.random.default_rng(0).normal(size=(300, 2))
        >>> shared = SharedDirections(np.asarray, both, 3 - both[:, ::-1], lambda x: True, dim=2)
        >>> shared(both).shape
        (300, 2)
    """

    def __init__(
        self,
        features: Embed,
        first: Sequence[Any],
        second: Sequence[Any],
        is_first: Callable[[Any], bool],
        dim: int = 16,
    ) -> None:
        self._features, self._is_first = features, is_first
        sides = [np.asarray(features(side), np.float64) for side in (first, second)]
        white = [_Whitened(side) for side in sides]
        a, b = (one(side) for one, side in zip(white, sides, strict=True))
        left, _, right = np.linalg.svd(a.T @ b / len(a), full_matrices=False)
        self._maps = [(white[0], left[:, :dim]), (white[1], right.T[:, :dim])]

    def __call__(self, inputs: Sequence[Any]) -> Vectors:
        """(N, dim)."""
        numbers = np.asarray(self._features(inputs), np.float64)
        kinds = np.array([not self._is_first(item) for item in inputs], int)
        out = np.empty((len(inputs), self._maps[0][1].shape[1]), np.float32)
        for kind, (white, turn) in enumerate(self._maps):
            out[kinds == kind] = white(numbers[kinds == kind]) @ turn
        return out


class _Whitened:
    def __init__(self, x: NDArray[np.float64]) -> None:
        self._mean, self._spread = x.mean(0), np.maximum(x.std(0), 1e-6)
        _, sizes, axes = np.linalg.svd((x - self._mean) / self._spread, full_matrices=False)
        keep = min(40, len(x) // 2, int((sizes > 1e-3 * sizes[0]).sum()))
        self._axes = axes[:keep].T / sizes[:keep] * np.sqrt(len(x))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = (x - self._mean) / self._spread @ self._axes
        return out
