"""Run a function on several ranks, each a process of its own, joined by gloo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _rank(rank: int, worker: Callable[..., Any], size: int, folder: str, args: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    torch.save(worker(rank, *args), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    # If PyTorch's threads still let go of tensors while Python ends, which is rare, it is aborted.
    os._exit(0)


def on_ranks(worker: Callable[..., Any], size: int, folder: Path, *args: Any) -> list[Any]:
    """What ``worker(rank, *args)`` returns on each rank."""
    mp.spawn(_rank, (worker, size, str(folder), args), nprocs=size)
    return [torch.load(folder / f"{rank}.pt") for rank in range(size)]
