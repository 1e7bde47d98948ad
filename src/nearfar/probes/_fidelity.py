"""How like the real pictures are the made ones? Precision, recall and the Frechet distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.probes._modes import Sampler
from nearfar.probes._scores import Embed, Scores

Features = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FidelityProbe:
    """Made pictures against real ones, in the space of a stated extractor.

    The extractor is PCA of the pixels, fitted to the real pictures. Distances of another extractor
    (Inception's, of papers) are other numbers: compare rows of one table only.

    Attributes:
        samplers: Who is judged, by name: (number) to (number, 3, H, W) floats in 0..1.
        trained: (M, 3, H, W) floats in 0..1, real ones that were trained on, for the note.
        real: (N, 3, H, W) real ones to compare with.
        dim: Components that the extractor keeps.
    """

    samplers: Mapping[str, Sampler]
    trained: NDArray[np.float32]
    real: NDArray[np.float32]
    dim: int = 64

    def score(self, features: Mapping[str, Embed]) -> Scores:
        """One row a sampler; ``features`` have no part in it."""
        from sklearn.decomposition import PCA

        number = len(self.real)
        if number < 10:
            raise NearfarError(f"{number} real pictures are too few to compare with; wanted 10.")
        dim = min(self.dim, number - 1)
        flat = self.real.reshape(number, -1)
        extractor = PCA(dim, random_state=0).fit(flat)
        real = extractor.transform(flat)

        def judge(pictures: NDArray[np.float32]) -> dict[str, float]:
            made = extractor.transform(pictures.reshape(len(pictures), -1))
            precision, recall = precision_recall(real, made)
            distance = frechet_distance(real, made)
            return {"precision": precision, "recall": recall, "frechet": -distance}

        rows = {name: judge(sample(number)) for name, sample in self.samplers.items()}
        others = judge(self.trained)
        return Scores(
            title=f"{number:,} real and {number:,} made pictures",
            measures={
                "precision": "precision",
                "recall": "recall",
                "frechet": "minus Frechet distance",
            },
            rows=rows,
            note=(
                f"extractor: the first {dim} principal components of the real pictures' pixels. "
                f"Real training pictures: {others['precision']:.3f}, {others['recall']:.3f}, "
                f"{others['frechet']:.3f}."
            ),
        )


def frechet_distance(real: Features, made: Features) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two Gaussian fits (Heusel et al. 2017, eq. 6).

    Args:
        real: (N, D).
        made: (M, D).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 2))
        >>> round(frechet_distance(x, x + [3.0, 0.0]), 6)
        9.0
    """
    apart = real.mean(0) - made.mean(0)
    one, other = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, made))
    # tr (C C')^(1/2) is the sum of the roots of the eigenvalues of the symmetric R C' R, R^2 = C.
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(apart @ apart + np.trace(one) + np.trace(other) - 2 * crossed)


def precision_recall(real: Features, made: Features, k: int = 3) -> tuple[float, float]:
    """Share of made items within reach of real ones, and the reverse.

    An item reaches as far as its k-th nearest of its own kind (Kynkaanniemi et al. 2019, arXiv
    1904.06991, equations 1 and 2).

    Args:
        real: (N, D).
        made: (M, D).
        k: Below N and M.
    """
    return _covered(made, real, k), _covered(real, made, k)


def _covered(items: Features, kind: Features, k: int) -> float:
    from sklearn.neighbors import NearestNeighbors

    # The nearest of one's own kind is oneself.
    reach = NearestNeighbors(n_neighbors=k + 1).fit(kind).kneighbors(kind)[0][:, -1]
    inside: Sequence[bool] = []
    for start in range(0, len(items), 500):
        part = items[start : start + 500]
        squares = (part**2).sum(1)[:, None] + (kind**2).sum(1) - 2 * part @ kind.T
        inside = [*inside, *(np.sqrt(squares.clip(0)) <= reach).any(1)]
    return float(np.mean(inside))
