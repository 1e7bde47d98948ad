"""What the loop needs of Lightning Fabric: devices, precision, processes, checkpoints."""

from __future__ import annotations

import inspect
import logging
import os
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.io import TorchCheckpointIO
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.nn.parallel import DistributedDataParallel

from nearfar.errors import NearfarError
from nearfar.experiment import Train
from nearfar.files import reading
from nearfar.train._plan import precision
from nearfar.train._run import START_OVER
from nearfar.train._together import SharedError

# It would announce every process.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


class Checkpoints(TorchCheckpointIO):
    """Whole or absent. A failure is kept, not raised: the other processes wait to hear of it.

    Attributes:
        problem: Why the last one could not be written; empty where it was.
    """

    problem = ""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        path = Path(path)
        draft = path.with_name(path.name + ".part")
        try:
            super().save_checkpoint(checkpoint, draft, storage_options)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            good = "The last good checkpoint stays" if path.is_file() else "There is none before it"
            self.problem = (
                f"The checkpoint of step {checkpoint['step']} could not be written to "
                f"{str(path)!r}: {error}. {good}. Free some space and give the same command again "
                "to go on."
            )

    def load_checkpoint(self, path: Any, *how: Any, **named: Any) -> dict[str, Any]:
        with reading(Path(path), START_OVER, SharedError):
            state: dict[str, Any] = super().load_checkpoint(path, *how, **named)
        return state


def device(train: Train) -> str:
    """The kind of device that a training runs on, "auto" resolved: cpu, cuda, mps."""
    kind: str = make_fabric(train).device.type
    return kind


def leads(train: Train) -> bool:
    """Whether this is the first process of a training: the one that writes and speaks.

    Raises:
        NearfarError: There are not as many devices, or torchrun started another number of
            processes.
    """
    return bool(make_fabric(train).is_global_zero)


def make_fabric(train: Train, *plugins: Any) -> Fabric:
    """One for these settings.

    Raises:
        NearfarError: There are not as many devices, or torchrun started another number of
            processes.
    """
    nodes = 1
    if dist.is_available() and dist.is_torchelastic_launched():
        started, nodes = (int(os.environ[name]) for name in ("WORLD_SIZE", "GROUP_WORLD_SIZE"))
        if started != train.devices:
            raise NearfarError(
                f"devices={train.devices}, but torchrun started {started} processes. Wanted one "
                f"for each device: --devices {started}."
            )
    try:
        return Fabric(
            accelerator=train.accelerator,
            strategy=_strategy(train) if train.devices > 1 else "auto",
            devices=train.devices // nodes,
            num_nodes=nodes,
            precision=precision(train),  # type: ignore[arg-type]
            plugins=list(plugins),
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise NearfarError(
            f"accelerator={train.accelerator!r}, devices={train.devices}: {error} Wanted an "
            "accelerator that is here (auto finds one) and at most as many devices as it has."
        ) from error


def _strategy(train: Train) -> DDPStrategy:
    # Two forwards a step: the second must not write over buffers that the first still needs, and
    # all ranks have the same ones anyway. Newer torch has another name for the option.
    names = inspect.signature(DistributedDataParallel).parameters
    off = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    # The temperature is used outside the forward, and an encoder may have parameters that nothing
    # uses. GradCache, which sees to both itself, does without the static graph.
    options: dict[str, Any] = {off: False, "static_graph": train.cache_chunk is None}
    return DDPStrategy(**options)
