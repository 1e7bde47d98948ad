"""SupCon: labels say who belongs together."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._dense import logits, unit
from nearfar.loss._labels import against_itself
from nearfar.loss._lean import groups, labelled
from nearfar.loss._temperature import Temperature, as_temperature, current
from nearfar.loss._tiled import wins


class SupConLoss(nn.Module):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362).

    Args:
        temperature: A number or a `Temperature`.
        form: ``out``: the mean over positives outside the logarithm (equation 2); ``in``: inside
            it (equation 3).

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(SupConLoss(1.0)(z, torch.tensor([0, 0, 1, 1])).item(), 4)
        0.5514
    """

    def __init__(
        self, temperature: float | Temperature = 0.1, *, form: Literal["out", "in"] = "out"
    ) -> None:
        super().__init__()
        check.one_of("form", form, ("out", "in"))
        self.temperature = as_temperature(temperature)
        self.form = form

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """The mean over all anchors that have a positive.

        Args:
            embeddings: (N, D); scaled to length one here.
            labels: (N,) integers.

        Raises:
            NearfarError: Shapes that do not fit, a row that is not finite, or no two rows that
                share a label, or all do.
        """
        check.matrix("embeddings", embeddings)
        check.integer_ids("labels", labels, embeddings)
        z, tau = unit(embeddings), current(self.temperature)
        lean = self.form == "out" and wins(z, z)
        if lean:
            group, size = groups(labels)
            anchor = size[group] > 1
        else:
            own = torch.eye(len(z), dtype=torch.bool, device=z.device)
            positive = (labels[:, None] == labels) & ~own
            anchor = positive.any(1)
        if check.readable(anchor) and not bool(anchor.any()):
            raise NearfarError(
                "labels has no two equal entries, so no row has a positive; wanted at least one "
                "label that occurs twice in the batch."
            )
        if lean:
            loss = labelled(z, labels, tau)
        elif self.form == "out":
            loss = against_itself(z, positive, ~positive, tau, decoupled=False)
        else:
            check.has_negative(~positive & ~own, needed=1)
            scores = logits(z, z, tau)
            crowd = scores.masked_fill(own, -torch.inf).logsumexp(1)
            # A row without positives is left out below; 0 keeps its gradient finite.
            good = torch.where(anchor[:, None], scores.masked_fill(~positive, -torch.inf), 0.0)
            loss = crowd - good.logsumexp(1) + positive.sum(1).clamp_min(1).log()
        return torch.where(anchor, loss, 0.0).sum() / anchor.sum()

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, form={self.form!r}, backend='auto'"
