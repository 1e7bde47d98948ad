"""Memory that is used again from call to call.

The operating system hands out new memory page by page, which costs more than what is computed in
it: up to a fifth of a step at 4,096 rows of 128 columns. Where Linux has huge pages for whoever
asks, room is made of them, and reading and writing miss fewer addresses.
"""

from __future__ import annotations

import mmap
import weakref
from contextlib import suppress
from threading import RLock

import torch
from torch import Tensor

# Exponentiated tiles are kept for a backward pass up to so many bytes, of a triangle half of a
# matrix of twice as many. Of all that was used, so much lies ready at most.
KEEP = 512 * 2**20
READY = 2 * KEEP
# Fewer entries than these come faster from PyTorch, again and again, in small batches.
LARGE = 2**20
# More bytes than this are not found in a cache when they are read again.
FAR = 32 * 2**20
# Bytes of a huge page on common processors, how Linux is asked for them, and for pages that no
# other process sees.
_PAGE = 2 * 2**20
_ASK: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_OWN = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


class Room:
    """Memory for tensors, which comes back when the last of them is gone; threads may share it.

    Attributes:
        free: What has come back, the last one last.
    """

    def __init__(self) -> None:
        self.free: list[mmap.mmap] = []
        # Tensors may go while memory is looked for, in the same thread.
        self.lock = RLock()

    def take(self, shape: tuple[int, ...] | int, like: Tensor) -> Tensor:
        """Uninitialised, of ``shape``, on the device and of the kind of ``like``."""
        shape = (shape,) if isinstance(shape, int) else shape
        size = torch.Size(shape).numel() * like.element_size()
        # Inside inference mode, a tensor would be made that nobody outside may write to.
        with torch.inference_mode(False):
            # Less comes fast from PyTorch, which also keeps the memory of other devices.
            if like.device.type != "cpu" or size < _PAGE // 2:
                return torch.empty(shape, dtype=like.dtype, device=like.device)
            # And a page more, to begin with one.
            memory = self._memory((-(-size // _PAGE) + 1) * _PAGE)
            view = memoryview(memory)
            # PyTorch holds the view, and nobody else does.
            weakref.finalize(view, self._back, memory).atexit = False
            whole = torch.frombuffer(view, dtype=like.dtype)
            first = -whole.data_ptr() % _PAGE // like.element_size()
            return like.new_empty(0).set_(whole.untyped_storage(), first, shape)  # type: ignore[call-overload,no-any-return]

    def _memory(self, size: int) -> mmap.mmap:
        with self.lock:
            for memory in reversed(self.free):
                if len(memory) == size:
                    self.free.remove(memory)
                    return memory
        memory = mmap.mmap(-1, size, **_OWN)
        if _ASK is not None:
            with suppress(OSError):  # a kernel without them
                memory.madvise(_ASK)
        return memory

    def _back(self, memory: mmap.mmap) -> None:
        """Take it back, and let go of what has been here longest where that is too much."""
        with self.lock:
            self.free.append(memory)
            while sum(map(len, self.free)) > READY:
                self.free.pop(0)


ROOM = Room()


def large(height: int, width: int, like: Tensor) -> Tensor | None:
    """Room for a matrix; None, which operations take for ``out``, where PyTorch's is faster."""
    return None if height * width < LARGE else ROOM.take((height, width), like)
