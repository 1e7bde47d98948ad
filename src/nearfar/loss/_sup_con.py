"""SupCon: labels say who belongs together."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._contrast import contrast
from nearfar.loss._engine import Loss, Products, described
from nearfar.loss._ranks import Group
from nearfar.loss._shard import Shard
from nearfar.loss._temperature import Temperature, as_temperature, inverse, scale_of
from nearfar.loss._unit import HIGHEST, unit
from nearfar.loss._whole import whole
from nearfar.loss._whole_rules import Labels
from nearfar.loss.push import Backend, Cohorts, Crowd, Game, Pairs, push

# Rows up to which `Labels`, which stores three matrices, is the faster way.
_FEW = 1024


class SupConLoss(Loss):
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362).

    Args:
        temperature: A number or a `Temperature`.
        form: ``out``: the mean over positives outside the logarithm (equation 2); ``in``: inside
            it (equation 3).
        group: See `info_nce`; so are the others.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(SupConLoss(1.0)(z, torch.tensor([0, 0, 1, 1])).item(), 4)
        0.5514
    """

    def __init__(
        self,
        temperature: float | Temperature = 0.1,
        *,
        form: Literal["out", "in"] = "out",
        group: Group = "auto",
        backend: Backend = "auto",
        products: Products = "exact",
    ) -> None:
        super().__init__(group=group, backend=backend, products=products)
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
        if self.form == "out" and self.short(embeddings, embeddings, labels):
            small = self._small(embeddings, labels)
            if small is not None:
                return small
        check.matrix("embeddings", embeddings)
        check.integer_ids("labels", labels, embeddings, "embeddings")
        shard = Shard(embeddings, self.group)
        z, scale = unit(embeddings), scale_of(self.temperature, embeddings)
        every = shard.gather(labels)
        _, group, size = torch.unique(every, return_inverse=True, return_counts=True)
        check.several(check.traced() or len(size) > 1)
        own = group[shard.first : shard.first + shard.rows]
        cohorts = Cohorts.of(own, group, size, shard.first, z)
        if check.readable() and len(size) == len(every):
            raise NearfarError(
                "labels has no two equal entries, so no row has a positive; wanted at least one "
                "label that occurs twice in the batch."
            )
        game = Game(
            query=z,
            key=None,
            scale=scale,
            crowd=shard.strangers(None),
            highest=HIGHEST,
            bf16=self.products == "bf16",
        )
        loss_of = _out if self.form == "out" else _in
        loss = loss_of(game, shard, cohorts, self.backend)
        return check.finite_loss(loss, scale, embeddings=embeddings)

    def _small(self, embeddings: Tensor, labels: Tensor) -> Tensor | None:
        def again(rows: Tensor, key: None, scale: float | Tensor, bias: None) -> Tensor:
            long = SupConLoss(1 / scale, group=None, backend="dense")  # type: ignore[arg-type]
            return long(rows, labels)  # type: ignore[no-any-return]

        if len(labels) > _FEW:
            return None
        scale = inverse(self.temperature, embeddings)
        return whole(Labels(labels), embeddings, None, scale, again, normalize=True)

    def extra_repr(self) -> str:
        return described(
            self.temperature,
            form=self.form,
            **self.engine,
        )


def _out(game: Game, shard: Shard, cohorts: Cohorts, backend: Backend) -> Tensor:
    game = replace(game, partners=cohorts)
    loss = shard.contrast(game, None, backend, decoupled=True, reduction="mean")
    if loss is not None:
        return loss
    crowd, _, pull = shard.push_pull(game, backend)
    assert pull is not None
    total = torch.where(cohorts.several, crowd, 0.0).sum() - pull.sum()
    return shard.ranks.total(total, cohorts.several.sum(), mean=True)


def _in(game: Game, shard: Shard, cohorts: Cohorts, backend: Backend) -> Tensor:
    own, group = cohorts.row, cohorts.column
    strangers = Crowd(row_id=own, column_id=group)
    negative, _ = shard.push(replace(game, crowd=strangers), backend)
    positive = _positives(game, shard, own, group, backend)
    partner_count = (cohorts.size[own] - 1).clamp_min(1).to(game.query.dtype)
    loss = torch.where(cohorts.several, contrast(negative, positive) + partner_count.log(), 0.0)
    return shard.ranks.total(loss.sum(), cohorts.several.sum(), mean=True)


def _positives(game: Game, shard: Shard, own: Tensor, group: Tensor, backend: Backend) -> Tensor:
    """Logsumexp over the rows of the same label but oneself, (N,); 0 where there are none.

    Sorted by label, only a band around the diagonal has to be looked at.
    """
    rows, columns = own.argsort(stable=True), group.argsort(stable=True)
    itself = columns.argsort()[rows + shard.first]
    alone = shard.ranks.alone
    crowd = Crowd(
        row_id=own[rows],
        column_id=group[columns],
        only_equal=True,
        left_out=Pairs(torch.arange(len(rows), device=rows.device), itself),
    )
    key = None if alone else shard.gather(game.query).index_select(0, columns)
    log, _ = push(
        replace(game, query=game.query.index_select(0, rows), key=key, crowd=crowd), backend
    )
    log = log.masked_fill(log == -torch.inf, 0.0)
    return log[rows.argsort()]
