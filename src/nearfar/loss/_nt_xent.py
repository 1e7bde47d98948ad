"""NT-Xent: several views of each item, all against all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss import _lean
from nearfar.loss._dense import reduce, unit
from nearfar.loss._info_nce import Reduction
from nearfar.loss._labels import against_itself
from nearfar.loss._temperature import Temperature, as_temperature, current
from nearfar.loss._tiled import wins


class NTXentLoss(nn.Module):
    """SimCLR's loss on two or more views (Chen et al. 2020, arXiv 2002.05709, equation 1).

    Every view asks for the other views of its item; all other views of the batch are candidates,
    2N - 1 of them with two views. With more than two views the loss is the mean over the partners.

    Args:
        temperature: A number or a `Temperature`.
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848, equation 5).
        reduction: ``none`` gives (views * N,), view after view; else ``sum`` or ``mean``.

    Example:
        >>> z = torch.eye(2)
        >>> round(NTXentLoss(temperature=1.0)(z, z).item(), 4)  # log(e + 1 + 1) - 1
        0.5514
    """

    def __init__(
        self,
        temperature: float | Temperature = 0.5,
        *,
        decoupled: bool = False,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check.one_of("reduction", reduction, ("none", "sum", "mean"))
        self.temperature = as_temperature(temperature)
        self.decoupled = decoupled
        self.reduction: Reduction = reduction

    def forward(
        self, z0: Tensor, z1: Tensor, *more_views: Tensor, ids: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch.

        Args:
            z0: (N, D) first view of each item; scaled to length one here.
            z1: (N, D) second view.
            more_views: (N, D) further views.
            ids: (N,) integers; items with equal ids are never each other's negatives.

        Raises:
            NearfarError: Views that do not fit each other, a row that is not finite, a view
                without any negative.
        """
        views = (z0, z1, *more_views)
        check.matrix("z0", z0)
        for number, view in enumerate(views[1:], start=1):
            check.matrix(f"z{number}", view, z0, "z0")
        rows = len(z0)
        if rows == 0:
            raise NearfarError("z0 has no rows; wanted at least two items.")
        if ids is not None:
            check.integer_ids("ids", ids, z0)
        z, tau = unit(torch.cat(views)), current(self.temperature)
        if wins(z, z):
            lean = _lean.views(z, len(views), tau, ids, decoupled=self.decoupled)
            return reduce(lean, self.reduction)
        item = torch.arange(rows, device=z0.device).repeat(len(views))
        own = torch.eye(len(item), dtype=torch.bool, device=z0.device)
        positive = (item[:, None] == item) & ~own
        allowed = ~positive
        if ids is not None:
            name = ids.repeat(len(views))
            allowed = name[:, None] != name
        loss = against_itself(
            z,
            positive,
            allowed,
            tau,
            decoupled=self.decoupled,
        )
        return reduce(loss, self.reduction)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, decoupled={self.decoupled}, backend='auto'"
