"""The crowd: which keys a query must tell its partner from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """(P,) rows and (P,) columns of single entries of a matrix that is never stored."""

    row: Tensor
    column: Tensor


class Diagonal(NamedTuple):
    """Entries along a diagonal: from a row and a column on, so many."""

    row: int
    column: int
    length: int

    def of(self, matrix: Tensor) -> Tensor:
        """They themselves, of a matrix that lies in one piece."""
        step = matrix.shape[1] + 1
        first = self.row * matrix.shape[1] + self.column
        return matrix.view(-1)[first : first + self.length * step : step]


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Who stands in the denominators: every key, but those that are left out.

    Attributes:
        row_id: (N,) integers; a key with its query's id is left out. None: ids leave nobody out.
        column_id: (M,) integers, the keys' ids.
        listed: All pairs of equal ids, if the maker of the crowd knows them already.
        diagonals: The same, where that is how they lie.
        only_equal: The other way round: only keys with their query's id stand. Both ids ascend.
        left_out: Further pairs that are left out, such as partners that share no id.
        mask: (N, M) bool, True where a key may stand.
        bias: (N, M) added to the logits.
        ceiling: (N,) the highest similarity q_i . k_j of a negative; a key above it is taken for a
            partner that nobody has told us of.
    """

    row_id: Tensor | None = None
    column_id: Tensor | None = None
    listed: Pairs | None = None
    diagonals: tuple[Diagonal, ...] = ()
    only_equal: bool = False
    left_out: Pairs | None = None
    mask: Tensor | None = None
    bias: Tensor | None = None
    ceiling: Tensor | None = None

    @property
    def by_ids_alone(self) -> bool:
        """Nothing but ids leaves anyone out, and nothing is added."""
        others = (self.left_out, self.mask, self.bias, self.ceiling)
        return not self.only_equal and all(x is None for x in others)

    @property
    def picky(self) -> bool:
        """Values say who is left out, so that nobody may be left."""
        return not self.by_ids_alone or (
            self.row_id is not None and self.listed is None and not self.diagonals
        )

    def turned(self) -> Crowd:
        """The crowd of the keys, who ask for their queries and have their queries' ids."""
        mask = None if self.mask is None else self.mask.T
        return replace(self, mask=mask, bias=None if self.bias is None else self.bias.T)

    def columns(self, at: slice) -> Crowd:
        """The crowd among some of the keys."""
        return Crowd(
            row_id=self.row_id,
            column_id=None if self.column_id is None else self.column_id[at],
            mask=None if self.mask is None else self.mask[:, at],
            bias=None if self.bias is None else self.bias[:, at],
            ceiling=self.ceiling,
        )

    def equal_ids(self, most: int) -> Pairs | None:
        """All pairs of equal ids; None if there are more than ``most``."""
        if self.listed is not None or self.row_id is None or self.column_id is None:
            return self.listed
        names = torch.unique(torch.cat([self.row_id, self.column_id]), return_inverse=True)[1]
        row, column = names.split([len(self.row_id), len(self.column_id)])
        size = column.bincount(minlength=int(names.max()) + 1 if len(names) else 0)
        partners = size[row]
        if int(partners.sum()) > most:
            return None
        by_name = column.argsort(stable=True)
        begin = (size.cumsum(0) - size)[row]
        first = partners.cumsum(0) - partners
        rows = torch.arange(len(row), device=row.device).repeat_interleave(partners)
        place = torch.arange(len(rows), device=row.device) + (begin - first)[rows]
        return Pairs(rows, by_name[place])

    def left_out_grid(self, rows: int, columns: int, device: torch.device) -> Tensor | None:
        """(N, M) bool, True where a key is left out by ids, pairs or mask; None: nobody is."""
        out: Tensor | None = None
        if self.row_id is not None and self.column_id is not None:
            same = self.row_id[:, None] == self.column_id
            out = ~same if self.only_equal else same
        if self.mask is not None:
            out = ~self.mask if out is None else out | ~self.mask
        if self.left_out is not None:
            if out is None:
                out = torch.zeros(rows, columns, dtype=torch.bool, device=device)
            out = out.index_put(self.left_out, torch.ones((), dtype=torch.bool, device=device))
        return out
