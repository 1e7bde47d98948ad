"""Look at a model in training mode, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def undisturbed(*encoders: object, seed: int) -> Iterator[Callable[[], None]]:
    """Training mode without gradients; afterwards modes, buffers and random states are as before.

    A module in evaluation mode is put in training mode; one that is in training keeps the modes of
    its parts, so that norms which its owner froze stay frozen.

    Args:
        encoders: Modules; other callables keep their state to themselves.
        seed: Of torch's random state inside.

    Yields:
        A function that brings buffers and random state back to those at the beginning.
    """
    roots = [encoder for encoder in encoders if isinstance(encoder, nn.Module)]
    modules = list(dict.fromkeys(module for root in roots for module in root.modules()))
    modes = [module.training for module in modules]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]

    def rewind() -> None:
        for module, name, buffer, content in buffers:
            buffer.copy_(content)
            module._buffers[name] = buffer
        torch.manual_seed(seed)

    gpus = range(torch.cuda.device_count())
    with torch.no_grad(), torch.random.fork_rng(devices=gpus):
        try:
            for root in roots:
                if not root.training:
                    root.train()
            rewind()
            yield rewind
        finally:
            rewind()
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
