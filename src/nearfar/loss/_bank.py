"""A memory bank: keys of earlier batches, as negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._ranks import Group, gather
from nearfar.loss._unit import unit

_LOWEST = torch.iinfo(torch.int64).min


class MemoryBank(nn.Module):
    """A queue of keys, first in, first out (He et al. 2020, MoCo, arXiv 1911.05722, section 3.1).

    Keys are scaled to length one on entry and bring no gradient. Nothing is in the bank before the
    first batch: no random rows pose as negatives.

    Args:
        size: Keys that it holds when it is full.
        dim: Width of a key.
        group: Whose keys enter, with the words of `info_nce`. With several ranks all keys enter in
            the order of ranks, so that every rank holds the same bank; shards may be uneven.

    Raises:
        NearfarError: A ``size`` or ``dim`` below one.

    Example:
        >>> from nearfar import info_nce
        >>> bank, z = MemoryBank(size=4, dim=2), torch.eye(2)
        >>> bank.enqueue(z, ids=torch.tensor([5, 6]))
        >>> ids = torch.tensor([6, 7])
        >>> loss = info_nce(z, z, bank.keys, in_batch=True, ids=ids, negative_ids=bank.ids)
        >>> bank
        MemoryBank(size=4, dim=2, filled=2)
    """

    _keys: Tensor
    _ids: Tensor

    def __init__(self, size: int, dim: int, *, group: Group = "auto") -> None:
        super().__init__()
        for name, value in (("size", size), ("dim", dim)):
            if value < 1:
                raise NearfarError(f"{name}={value}: wanted 1 or more, say MemoryBank(65536, 128).")
        self.size, self.dim, self.group = size, dim, group
        self.register_buffer("_keys", torch.zeros(size, dim))
        self.register_buffer("_ids", torch.zeros(size, dtype=torch.int64))
        # A number of Python's: reading one off a GPU would wait for it at every step.
        self._entered = 0

    @property
    def filled(self) -> int:
        """Keys that are there."""
        return min(self._entered, self.size)

    @property
    def keys(self) -> Tensor:
        """(filled, dim) unit keys, in no order; a view: enqueue after the backward pass."""
        return self._keys[: self.filled]

    @property
    def ids(self) -> Tensor:
        """(filled,) int64; a key that came without an id has one that nobody shares."""
        return self._ids[: self.filled]

    @torch.no_grad()
    def enqueue(self, keys: Tensor, ids: Tensor | None = None) -> None:
        """Let keys in; the oldest leave. Of more keys than ``size`` the last stay.

        Args:
            keys: (n, dim), n of any size.
            ids: (n,) integers; with several ranks, on all of them or on none.

        Raises:
            NearfarError: Shapes or devices that do not fit, a row that is not finite, an id among
                the lowest ``size`` int64 numbers, which stand for "no id".
        """
        self._check(keys, ids)
        rows = gather(unit(keys.detach()), self.group)
        names = None if ids is None else gather(ids.long(), self.group)
        self._entered += len(rows)
        kept = min(len(rows), self.size)
        places = torch.arange(self._entered - kept, self._entered, device=rows.device) % self.size
        # Two keys never share a place, so a place is a name that nobody shares.
        names = places + _LOWEST if names is None else names[-kept:]
        self._keys[places] = rows[-kept:].to(self._keys.dtype)
        self._ids[places] = names

    def _check(self, keys: Tensor, ids: Tensor | None) -> None:
        check.matrix("keys", keys)
        if keys.shape[1] != self.dim:
            raise NearfarError(
                f"keys has shape {tuple(keys.shape)}; wanted (n, {self.dim}) as the bank was made: "
                f"MemoryBank({self.size}, {keys.shape[1]})."
            )
        if keys.device != self._keys.device:
            raise NearfarError(
                f"keys is on {keys.device} but the bank is on {self._keys.device}; wanted the "
                f"same: bank.to({str(keys.device)!r})."
            )
        check.finite("keys", keys)
        if ids is None:
            return
        check.integer_ids("ids", ids, keys, "keys")
        if check.readable() and bool((low := ids.long() < _LOWEST + self.size).any()):
            row = int(low.nonzero()[0])
            raise NearfarError(
                f"ids has {int(ids[row])} in row {row}; wanted {_LOWEST + self.size} or more: the "
                "lowest numbers stand for keys without an id. Add a constant to all ids."
            )

    def get_extra_state(self) -> Tensor:
        """How many keys have ever entered, which says where the next one goes."""
        return torch.tensor(self._entered)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from there."""
        self._entered = int(state)

    def extra_repr(self) -> str:
        return f"size={self.size}, dim={self.dim}, filled={self.filled}"
