"""The optimiser and its learning rate."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nearfar.errors import NearfarError
from nearfar.experiment import Train


def optimiser(
    modules: list[nn.Module], train: Train, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.Optimizer:
    """AdamW, SGD or LARS over all parameters; weight decay on matrices and kernels only.

    Its learning rate is 0 until it is set, which is done at every step.

    Args:
        modules: What has parameters.
        train: Which optimiser.
        betas: Of AdamW.
    """
    every = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in every.values() if p.ndim > 1], "weight_decay": train.weight_decay},
        {"params": [p for p in every.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=betas)
    if train.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=0.0, momentum=0.9, nesterov=True)
    try:
        from pytorch_optimizer import LARS
    except ImportError as error:
        raise NearfarError(
            "optimizer='lars' comes from the package pytorch-optimizer, which is not installed: "
            "pip install 'nearfar[lars]'"
        ) from error
    return LARS(groups, lr=0.0, momentum=0.9)


def learning_rate(highest: float, warmup: float, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to zero: a pure function of the step.

    Args:
        highest: The rate after the warm-up.
        warmup: Its share of the steps.
        step: From 0 on.
        steps: Of the training.

    Example:
        >>> [round(learning_rate(1.0, 0.5, step, 4), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    warm = round(warmup * steps)
    if step < warm:
        return highest * (step + 1) / warm
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
