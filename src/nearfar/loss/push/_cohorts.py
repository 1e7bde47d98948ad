"""The pull of labels: each row is drawn to the mean of all others that have its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nearfar.loss.loops import ready
from nearfar.loss.push._partners import by_loops, partners


class Gathered(NamedTuple):
    """What rows come to, label by label.

    Attributes:
        query: (L, D) the queries' sums.
        key: (L, D) the keys'.
        similarity: (L,) of queries to their partners, the means, added up.
    """

    query: Tensor
    key: Tensor
    similarity: Tensor


@dataclass(frozen=True)
class Cohorts:
    """Rows that share a label are each other's partners.

    A label's similarities add up to a product of two sums, less those of rows with themselves.

    Attributes:
        row: (N,) label of each query, counted from 0.
        column: (M,) label of each key.
        size: (L,) keys of each label.
        share: (L,) of each of a row's partners in their mean; zero where it has none.
        several: (N,) whether a query has partners.
        first: This key is the first query itself, and the next ones are the next.
    """

    row: Tensor
    column: Tensor
    size: Tensor
    share: Tensor
    several: Tensor
    first: int

    @classmethod
    def of(cls, row: Tensor, column: Tensor, size: Tensor, first: int, like: Tensor) -> Cohorts:
        """As said above; what is computed is of the kind of ``like``."""
        others = (size - 1).to(like.dtype)
        share = torch.where(others > 0, others.reciprocal(), 0.0)
        return cls(row, column, size, share, size[row] > 1, first)

    def gather(self, query: Tensor, key: Tensor | None) -> Gathered:
        """As said above.

        Args:
            query: (N, D).
            key: (M, D); None: queries are their own keys.
        """
        sums = query.new_zeros(len(self.size), query.shape[1])
        if key is None and by_loops(query):
            from nearfar.loss.loops import cohorts

            similarity = torch.empty_like(self.share)
            cohorts.gather(query.contiguous(), self.row, self.share, sums, similarity)
            return Gathered(sums, sums, similarity)
        ours = sums.index_add(0, self.row, query)
        theirs = ours if key is None else sums.index_add(0, self.column, key)
        itself = partners(query, query if key is None else key[self._own(query)])
        itself = query.new_zeros(len(self.size)).index_add(0, self.row, itself)
        return Gathered(ours, theirs, (partners(ours, theirs) - itself) * self.share)

    def add(
        self,
        grad: Tensor,
        query: Tensor,
        key: Tensor | None,
        grad_query: Tensor | None,
        grad_key: Tensor | None,
        gathered: Gathered,
        *,
        lying: Tensor | None = None,
    ) -> None:
        """Add the gradients of ``gathered.similarity``, where they are wanted.

        Args:
            grad: (L,) what comes in.
            query: (N, D).
            key: (M, D); None: queries are their own keys, and what keys get is theirs.
            grad_query: (N, D), to be added to.
            grad_key: (M, D).
            gathered: Of these.
            lying: (D, N) added to ``grad_query``, too; only where loops add to it.
        """
        weight, (ours, theirs, _) = grad * self.share, gathered
        if grad_query is not None:
            if key is None:
                weight, itself = 2 * weight, query
            else:
                itself = key[self._own(query)]
            _add(grad_query, weight, theirs, self.row, itself, lying)
        if grad_key is not None:
            grad_key += (ours * weight.unsqueeze(1)).index_select(0, self.column)
            grad_key[self._own(query)].addcmul_(query, weight[self.row].unsqueeze(1), value=-1)

    def _own(self, query: Tensor) -> slice:
        return slice(self.first, self.first + len(query))


def _add(
    to: Tensor,
    weight: Tensor,
    sums: Tensor,
    label: Tensor,
    itself: Tensor,
    lying: Tensor | None,
) -> None:
    """``to_i += weight_l (sums_l - itself_i) + lying_.i``, l the label of row i."""
    if ready(to, len(to) ** 2):
        from nearfar.loss.loops import pulls

        pulls.attract(to, weight, sums, label, itself.contiguous(), lying)
        return
    to.addcmul_(sums.index_select(0, label) - itself, weight[label].unsqueeze(1))
