"""Memory that is used again from call to call.

The operating system hands out new memory page by page, which costs more than what is computed in
it: up to a fifth of a step at 4,096 rows of 128 columns. Where Linux has huge pages for whoever
asks, room is made of them, and reading and writing miss fewer addresses.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

import torch
from torch import Tensor

# Exponentiated tiles are kept for their gradient up to so many bytes; of a triangle, half of a
# matrix of twice as many. So much memory is used again at most.
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
# The most that glibc can be brought to keep, with a page to spare.
_KEPT = 32 * 2**20 - 64 * 2**10
# How many tensors, and others, hold a storage. PyTorch's own graphs of CUDA rely on it; where it is
# missing, memory is PyTorch's.
_HOLDERS: Callable[[int], int] | None = getattr(torch._C, "_storage_Use_Count", None)


class _Memory:
    """Some pages.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self.size, memory = size, mmap.mmap(-1, size, **_OWN)
        if _ASK is not None:
            with suppress(OSError):  # a kernel without them
                memory.madvise(_ASK)
        with torch.inference_mode(False):
            whole = torch.frombuffer(memory, dtype=torch.uint8)
        self.first, self.storage = -whole.data_ptr() % _PAGE, whole.untyped_storage()
        del whole
        self.alone = self._holders()

    def _holders(self) -> int:
        assert _HOLDERS is not None
        return _HOLDERS(self.storage._cdata)

    @property
    def free(self) -> bool:
        """No tensor lies here."""
        return self._holders() == self.alone

    def tensor(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """One that lies here, from the beginning of a page on."""
        first = self.first // like.element_size()
        return like.new_empty(0).set_(self.storage, first, shape)  # type: ignore[call-overload,no-any-return]


class Room:
    """Memory for tensors, which serves again when the last of them is gone; threads may share it.

    Attributes:
        ready: What there is, the one that was asked for last at the end.
    """

    def __init__(self) -> None:
        self.ready: list[_Memory] = []
        self.lock = Lock()

    def take(self, shape: tuple[int, ...] | int, like: Tensor) -> Tensor:
        """Uninitialised, of ``shape``, on the device and of the kind of ``like``."""
        shape = (shape,) if isinstance(shape, int) else shape
        size = math.prod(shape) * like.element_size()
        # Less comes fast from PyTorch, which also keeps the memory of other devices.
        if like.device.type != "cpu" or size < _PAGE // 2 or _HOLDERS is None:
            return torch.empty(shape, dtype=like.dtype, device=like.device)
        # And a page more, to begin with one.
        size = (-(-size // _PAGE) + 1) * _PAGE
        with self.lock:
            if not torch.is_inference_mode_enabled():
                return self._memory(size).tensor(shape, like)
            # A tensor would be made that nobody outside may write to.
            with torch.inference_mode(False):
                return self._memory(size).tensor(shape, like)

    def _memory(self, size: int) -> _Memory:
        for memory in reversed(self.ready):
            if memory.size == size and memory.free:
                self.ready.remove(memory)
                self.ready.append(memory)
                return memory
        memory = _Memory(size)
        self.ready.append(memory)
        # What is let go goes with the last tensor that lies there.
        while sum(one.size for one in self.ready) > READY:
            self.ready.pop(0)
        return memory


ROOM = Room()


def keep_freed() -> None:
    """Have small new tensors made of memory that others have left.

    glibc hands back what is freed to the operating system, which has to fill all pages that come
    anew with zeros, unless as much has been freed in one piece before.
    """
    torch.empty(_KEPT, dtype=torch.uint8)


def large(height: int, width: int, like: Tensor) -> Tensor | None:
    """Room for a matrix; None, which operations take for ``out``, where PyTorch's is faster."""
    return None if height * width < LARGE else ROOM.take((height, width), like)
