"""NT-Xent: several views of each item, all against all."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._contrast import contrast
from nearfar.loss._engine import Loss, Products, described
from nearfar.loss._info_nce import REDUCTIONS, Reduction
from nearfar.loss._ranks import Group
from nearfar.loss._shard import Shard
from nearfar.loss._temperature import Temperature, as_temperature, inverse, scale_of
from nearfar.loss._unit import HIGHEST, unit
from nearfar.loss._whole import fits, whole
from nearfar.loss._whole_rules import Softmax
from nearfar.loss.push import Backend, Game, partners


class NTXentLoss(Loss):
    """SimCLR's loss on two or more views (Chen et al. 2020, arXiv 2002.05709, equation 1).

    Every view asks for the other views of its item; all other views of the batch are candidates,
    2N - 1 of them with two views. With more than two views the loss is the mean over the partners.

    Args:
        temperature: A number or a `Temperature`.
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848, equation 5).
        reduction: ``none`` gives (views * N,), view after view; else ``sum`` or ``mean``.
        group: See `info_nce`; so are the others.

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
        group: Group = "auto",
        backend: Backend = "auto",
        products: Products = "exact",
    ) -> None:
        super().__init__(group=group, backend=backend, products=products)
        check.one_of("reduction", reduction, REDUCTIONS)
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
        if len(views) == 2 and self.short(z0, z1, ids) and fits(2 * len(z0)):
            small = self._small(torch.cat(views), ids)
            if small is not None:
                return small
        check.matrix("z0", z0)
        for number, view in enumerate(views[1:], start=1):
            check.matrix(f"z{number}", view, z0, "z0")
        if len(z0) == 0:
            raise NearfarError("z0 has no rows; wanted at least two items.")
        if ids is not None:
            check.integer_ids("ids", ids, z0, "z0")
        z, scale = unit(*views), scale_of(self.temperature, z0)
        shard = Shard(z, self.group, len(views))
        check.several(shard.total > len(views))
        game = Game(
            query=z,
            key=None,
            scale=scale,
            crowd=shard.strangers(ids),
            partners=slice(len(z0), 2 * len(z0)) if len(views) == 2 else None,
            highest=HIGHEST,
            bf16=self.products == "bf16",
        )
        named = {f"z{number}": view for number, view in enumerate(views)}
        return check.finite_loss(self._loss(game, shard), scale, **named)

    def _loss(self, game: Game, shard: Shard) -> Tensor:
        decoupled, reduction = self.decoupled, self.reduction
        if game.partners is not None:
            loss = shard.contrast(
                game, None, self.backend, decoupled=decoupled, reduction=reduction
            )
            if loss is not None:
                return loss
        crowd, _, own = shard.push_pull(game, self.backend)
        if game.crowd.picky:
            check.somebody(crowd)
        positive, pull = _views(game, shard.views) if own is None else (own.repeat(2), None)
        each = contrast(crowd, positive, pull, decoupled=decoupled)
        return shard.reduce(each, reduction)

    def _small(self, rows: Tensor, ids: Tensor | None) -> Tensor | None:
        def again(rows: Tensor, key: None, scale: float | Tensor, bias: None) -> Tensor:
            long = NTXentLoss(
                1 / scale,  # type: ignore[arg-type]
                decoupled=self.decoupled,
                reduction=self.reduction,
                group=None,
                backend="dense",
            )
            return long(*rows.chunk(2), ids=ids)  # type: ignore[no-any-return]

        ids_of_rows = None if ids is None else ids.repeat(2)
        rule = Softmax(views=True, decoupled=self.decoupled, ids=ids_of_rows)
        scale = inverse(self.temperature, rows)
        return whole(rule, rows, None, scale, again, normalize=True, reduction=self.reduction)

    def extra_repr(self) -> str:
        return described(
            self.temperature,
            decoupled=self.decoupled,
            reduction=self.reduction,
            **self.engine,
        )


def _views(game: Game, number: int) -> tuple[Tensor, Tensor]:
    """Logsumexp and mean of the logits of each view's partners, of whom there are several."""
    by_view = game.query.view(number, -1, game.query.shape[1])
    others = [partners(by_view, by_view.roll(-step, 0)) for step in range(1, number)]
    logits = torch.stack(others).flatten(1) * game.scale
    return logits.logsumexp(0), logits.mean(0)
