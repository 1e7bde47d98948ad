"""Room for tiles, used again from call to call.

The operating system hands out new memory page by page, which costs more than the exponentials that
are written into it: up to a fifth of a step at 4,096 rows of 128 columns.
"""

from __future__ import annotations

import torch
from torch import Tensor

# No more bytes than this lie ready, and exponentiated tiles are kept for a backward pass up to it.
KEEP = 512 * 2**20


class Room:
    """Flat tensors, of each number format of one size: of the last that was asked for."""

    def __init__(self) -> None:
        self.free: dict[torch.dtype, list[Tensor]] = {}
        self.bytes = 0

    def take(self, entries: int, like: Tensor) -> Tensor:
        """Uninitialised, of ``entries``, on the device and of the kind of ``like``."""
        free = self.free.setdefault(like.dtype, [])
        while free:
            room = free.pop()
            self.bytes -= room.nbytes
            if room.numel() == entries and like.device.type == "cpu":
                return room
        # Inside inference mode, a tensor would be made that nobody outside may write to.
        with torch.inference_mode(False):
            return torch.empty(entries, dtype=like.dtype, device=like.device)

    def give(self, rooms: list[Tensor]) -> None:
        """Take these back; ``rooms`` is emptied."""
        while rooms:
            room = rooms.pop()
            # PyTorch itself keeps the memory of other devices.
            if room.device.type == "cpu" and self.bytes + room.nbytes <= KEEP:
                self.free.setdefault(room.dtype, []).append(room)
                self.bytes += room.nbytes


ROOM = Room()
