"""Length and direction: what a step does to a query's norm, and what it cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Unpack

import torch
from torch import Tensor

from nearfar.anatomy._forces import forces
from nearfar.anatomy._players import Who
from nearfar.errors import NearfarError
from nearfar.loss import Temperature

Similarity = Literal["cosine", "dot"]
# Below this length torch's normalize divides by it instead, and lengths count again.
EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The gradient by each query as it is given, split along and across it.

    Attributes:
        similarity: ``cosine`` or ``dot``.
        length: (N,) |q|.
        scaling: (N,) q_hat . grad, the part along the vector. Dot product: (E_p[s] - s_+) /
            (temperature |q|), negative (a descent step lengthens) where the positive beats the
            p-weighted crowd. Cosine: exactly zero but for rounding, since the loss does not depend
            on the length; not below `EPSILON`.
        rotation: (N,) length of the part across it.
        log_scale_gradient: (N,) dL / d log(1 / temperature) = (E_p[s] - s_+) / temperature. Under
            the dot product it *is* q . grad: growing longer and learning the temperature are one.
        short: (N,) bool, cosine rows of length below `EPSILON`, where nothing of this holds.
    """

    similarity: Similarity
    length: Tensor
    scaling: Tensor
    rotation: Tensor
    log_scale_gradient: Tensor
    short: Tensor

    @property
    def scaling_share(self) -> Tensor:
        """(N,) the share of the squared gradient that lies along the vector."""
        whole = self.scaling.square() + self.rotation.square()
        return self.scaling.square() / whole.clamp_min(torch.finfo(whole.dtype).tiny)

    def next_length(self, step: float) -> Tensor:
        """(N,) |q - step grad|, of a free vector under plain SGD.

        Exact: |q'|^2 = (|q| - step scaling)^2 + step^2 rotation^2; under cosine similarity this is
        |q|^2 + step^2 |grad|^2, growth by the finite step alone. It holds neither under Adam, whose
        step is not along the gradient, nor for an encoder's outputs, which move together.
        """
        return torch.hypot(self.length - step * self.scaling, step * self.rotation)

    def effective_step(self, step: float) -> Tensor:
        """(N,) step / |q|^2, by which the direction turns under cosine similarity."""
        return step / self.length.square()


@torch.no_grad()
def motion(
    query: Tensor,
    key: Tensor,
    temperature: float | Tensor | Temperature,
    *,
    similarity: Similarity = "cosine",
    **who: Unpack[Who],
) -> Motion:
    """Split the gradient of each query's own loss into scaling and rotation.

    For vectors that are parameters themselves, under plain SGD. An encoder's outputs do change
    their lengths to first order (J J^T grad is not orthogonal to q), and so does Adam's step.

    Args:
        query: (N, D), not normalised.
        key: (N, D), row i the partner of query i.
        temperature: The loss's.
        similarity: ``cosine`` (rows are scaled to length one first) or ``dot``.
        **who: Ids and further negatives: see `Who`. Whether rows are scaled follows from the
            similarity.

    Raises:
        NearfarError: What `info_nce` refuses, and an unknown similarity.

    Example:
        >>> moved = motion(3 * torch.eye(2), torch.eye(2), 0.5)
        >>> moved.scaling.abs().max().item() < 1e-6
        True
    """
    if similarity not in ("cosine", "dot"):
        raise NearfarError(f"similarity={similarity!r}: wanted 'cosine' or 'dot'.")
    if "normalize" in who:
        raise NearfarError("normalize follows from similarity here; wanted similarity='dot' alone.")
    who["normalize"] = similarity == "cosine"
    found = forces(query, key, temperature, **who)
    gradient, query = found.gradient, query.detach().to(found.push.dtype)
    length = torch.linalg.vector_norm(query, dim=1)
    unit = query / length.clamp_min(EPSILON)[:, None]
    # s_j = q . k_j of the vectors that met, so the expectation is theirs.
    met = unit if similarity == "cosine" else query
    log_scale = torch.linalg.vecdot(met, gradient)
    short = torch.zeros_like(length, dtype=torch.bool)
    if similarity == "cosine":
        short = length < EPSILON
        along = torch.linalg.vecdot(unit, gradient)[:, None] * unit
        across = torch.where(short[:, None], gradient, gradient - along)
        gradient = across / length.clamp_min(EPSILON)[:, None]
    direction = torch.nn.functional.normalize(query, dim=1, eps=torch.finfo(query.dtype).tiny)
    scaling = torch.linalg.vecdot(direction, gradient)
    rotation = torch.linalg.vector_norm(gradient - scaling[:, None] * direction, dim=1)
    return Motion(
        similarity=similarity,
        length=length,
        scaling=scaling,
        rotation=rotation,
        log_scale_gradient=log_scale,
        short=short,
    )
