"""The bank of negatives that all clients share; the server keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import NearfarError


@dataclass(frozen=True)
class Crowd:
    """What a client gets of the bank: others' entries. Whose they are it is not told.

    Attributes:
        keys: (M, D) unit vectors.
        age: (M,) int64, rounds since the weights that made them.
    """

    keys: Tensor
    age: Tensor

    def __len__(self) -> int:
        return len(self.keys)


class SharedBank:
    """Entries of all clients, each with its owner and the round of the weights that made it.

    Args:
        size: Entries that it holds; the oldest leave.
        each: Entries of one owner, at most; its oldest leave.
    """

    def __init__(self, size: int, each: int) -> None:
        self.size, self.each = size, each
        self.keys = torch.empty(0, 0)
        self.owner = torch.empty(0, dtype=torch.int64)
        self.round = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.keys)

    def receive(self, owner: int, keys: Tensor, number: int) -> None:
        """Let an owner's entries in.

        Args:
            owner: Id of the client.
            keys: (M, D), scaled to length one here; rows that are not finite stay out.
            number: The round of the weights that made them, however late they come.

        Raises:
            NearfarError: Another width than the bank's.
        """
        keys = torch.nn.functional.normalize(keys.float())
        keys = keys[keys.isfinite().all(1) & (keys.norm(dim=1) > 0.5)][-self.each :]
        if not len(keys):
            return
        if len(self) and keys.shape[1] != self.keys.shape[1]:
            raise NearfarError(
                f"keys has width {keys.shape[1]}; wanted {self.keys.shape[1]}, as the bank's."
            )
        before = self.keys if len(self) else keys[:0]
        self.keys = torch.cat([before, keys])
        self.owner = torch.cat([self.owner, torch.full((len(keys),), owner)])
        self.round = torch.cat([self.round, torch.full((len(keys),), number)])
        # Oldest first, so that what is cut off is always the oldest; late entries are in between.
        self._keep(self.round.argsort(stable=True))
        own = (self.owner == owner).nonzero().flatten()
        kept = torch.ones(len(self), dtype=torch.bool)
        kept[own[: -self.each]] = False
        self._keep(kept.nonzero().flatten()[-self.size :])

    def crowd(self, owner: int, number: int, max_age: int) -> Crowd:
        """What a client plays against: nothing of its own, nothing too old.

        Args:
            owner: Id of the client.
            number: The round that it is about to play.
            max_age: Rounds.
        """
        age = number - self.round
        chosen = (self.owner != owner) & (age <= max_age)
        return Crowd(self.keys[chosen], age[chosen])

    def _keep(self, rows: Tensor) -> None:
        self.keys, self.owner, self.round = self.keys[rows], self.owner[rows], self.round[rows]

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"keys": self.keys, "owner": self.owner, "round": self.round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.keys, self.owner, self.round = state["keys"], state["owner"], state["round"]
