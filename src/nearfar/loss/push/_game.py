"""The game: queries, keys, a scale and a crowd, as every backend takes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from nearfar.loss.push._cohorts import Cohorts
from nearfar.loss.push._crowd import Crowd


@dataclass(frozen=True, kw_only=True)
class Game:
    """All that the push is made from.

    Attributes:
        query: (N, D), float32 or float64.
        key: (M, D); None: the queries are each other's keys, and the matrix is symmetric.
        scale: 0-dim, 1 / temperature.
        crowd: Who stands in the denominators.
        both: Also for each key, over the queries.
        partners: These keys are the partners of the first queries, in the same order, or rows are
            of one label; their logits are told beside the push. None: nobody's are.
        highest: No q_i . k_j is above this; None: not known.
        own: (P,) partners' similarities; None: not known.
        bf16: Multiply matrices in bfloat16.
    """

    query: Tensor
    key: Tensor | None
    scale: Tensor
    crowd: Crowd
    both: bool = False
    partners: slice | Cohorts | None = None
    highest: float | None = None
    own: Tensor | None = None
    bf16: bool = False

    def rules(self) -> dict[str, Any]:
        """All but the tensors that may want gradients."""
        return {
            "crowd": self.crowd,
            "both": self.both,
            "partners": self.partners,
            "highest": self.highest,
            "bf16": self.bf16,
        }

    def blank(self) -> Game:
        """The same players, all similarities zero: the push of it counts who may stand."""
        key = None if self.key is None else torch.zeros_like(self.key[:, :1])
        crowd = replace(self.crowd, bias=None, ceiling=None)
        return replace(self, query=torch.zeros_like(self.query[:, :1]), key=key, crowd=crowd)

    def turned(self) -> Game:
        """The game of the keys, who ask for their queries."""
        crowd = self.crowd.turned()
        return replace(self, query=self.keys, key=self.query, crowd=crowd, both=False)

    @property
    def stretch(self) -> float:
        """Similarities grow by this factor at most where rows, and they themselves, are rounded."""
        return (1 + 2**-8) ** 3 if self.bf16 else 1.0

    @property
    def keys(self) -> Tensor:
        """The keys, the queries themselves where they are their own."""
        return self.query if self.key is None else self.key

    @property
    def triangle(self) -> bool:
        """The matrix of similarities is symmetric, so half of it is enough."""
        return self.key is None
