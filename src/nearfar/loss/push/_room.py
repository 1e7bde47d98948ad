"""Room for tiles, used again from call to call.

The operating system hands out new memory page by page, which costs more than the exponentials that
are written into it: up to a fifth of a step at 4,096 rows of 128 columns.
"""

from __future__ import annotations

from threading import Lock

import torch
from torch import Tensor

# Exponentiated tiles are kept for a backward pass up to so many bytes, of a triangle half of a
# matrix of twice as many; with its diagonal and a tile more, so many lie ready at most.
KEEP = 512 * 2**20
READY = KEEP * 9 // 8


class Room:
    """Flat tensors that were given back, the last one first; threads may share it."""

    def __init__(self) -> None:
        self.free: list[Tensor] = []
        self.lock = Lock()

    def take(self, entries: int, like: Tensor) -> Tensor:
        """Uninitialised, of ``entries``, on the device and of the kind of ``like``."""
        with self.lock:
            for number, room in enumerate(self.free):
                if (room.numel(), room.dtype, room.device) == (entries, like.dtype, like.device):
                    return self.free.pop(number)
        # Inside inference mode, a tensor would be made that nobody outside may write to.
        with torch.inference_mode(False):
            return torch.empty(entries, dtype=like.dtype, device=like.device)

    def give(self, *rooms: Tensor) -> None:
        """Take these back, and let go of what has been here longest where that is too much."""
        with self.lock:
            # PyTorch itself keeps the memory of other devices.
            self.free[:0] = [room for room in rooms if room.device.type == "cpu"]
            while sum(room.nbytes for room in self.free) > READY:
                self.free.pop()


ROOM = Room()
