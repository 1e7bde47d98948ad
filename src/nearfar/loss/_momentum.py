"""A momentum encoder: a copy that follows slowly."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nearfar.errors import NearfarError


class MomentumEncoder(nn.Module):
    """An exponential moving average of an encoder, to encode keys (He et al. 2020, MoCo, eq. 2).

    Keys in a memory bank come from many steps; an encoder that changes slowly keeps them alike.
    Buffers (batch norm's statistics, counters) are copied at every update. The copy has the mode of
    the original: as in MoCo its batch norms stay in training mode, until ``eval()`` is called.

    Args:
        module: The encoder, before it is wrapped (DistributedDataParallel, Fabric); it is copied.
        momentum: Share of the old weights that an update keeps. Parameters in half precision
            would stand still near one: the step is below their rounding.
        final: Move from ``momentum`` to this along a cosine (Grill et al. 2020, BYOL, arXiv
            2006.07733, section 3.3, with 1.0).

    Raises:
        NearfarError: A momentum that is not between 0 and 1.

    Example:
        >>> encoder = nn.Linear(2, 2)
        >>> slow = MomentumEncoder(encoder, momentum=0.99, final=1.0)
        >>> slow.update(encoder, progress=0.5)
        >>> slow(torch.eye(2)).requires_grad
        False
    """

    def __init__(
        self, module: nn.Module, momentum: float = 0.999, final: float | None = None
    ) -> None:
        super().__init__()
        for name, value in (("momentum", momentum), ("final", final)):
            if value is not None and not 0 <= value <= 1:
                raise NearfarError(
                    f"{name}={value}: wanted the share of old weights to keep, 0 to 1; 0.999 is "
                    "MoCo's."
                )
        self.module = deepcopy(module).requires_grad_(False)
        self.momentum, self.final = momentum, final

    @torch.no_grad()
    def update(self, source: nn.Module, progress: float | None = None) -> None:
        """Follow the source by one step.

        Args:
            source: The encoder that learns, wrapped or not. It is passed, not kept: its weights
                would be saved twice.
            progress: Share of the training that is done, 0 to 1; only ``final`` needs it.

        Raises:
            NearfarError: A source of another build or on another device, no ``progress`` although
                there is a schedule.
        """
        if self.final is not None and progress is None:
            raise NearfarError(
                "progress=None: wanted the share of the training that is done, since final="
                f"{self.final} makes a schedule: update(source, progress=step / steps)."
            )
        own, theirs = _beside("parameters", self.module.parameters(), source.parameters())
        if own:
            get_ema_multi_avg_fn(self._now(progress))(own, theirs, None)  # type: ignore[no-untyped-call]
        for mine, its in zip(
            *_beside("buffers", self.module.buffers(), source.buffers()), strict=True
        ):
            mine.copy_(its)

    def _now(self, progress: float | None) -> float:
        if self.final is None or progress is None:
            return self.momentum
        left = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
        return self.final - (self.final - self.momentum) * left

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the copy makes of the inputs, without a graph."""
        return self.module(*args, **kwargs)

    def extra_repr(self) -> str:
        return f"momentum={self.momentum}, final={self.final}"


def _beside(
    kind: str, own: Iterable[Tensor], theirs: Iterable[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    mine, its = list(own), list(theirs)
    if [x.shape for x in mine] != [x.shape for x in its]:
        raise NearfarError(
            f"source has {len(its)} {kind} whose shapes are not those of the {len(mine)} that were "
            "copied; wanted the encoder that MomentumEncoder was made from."
        )
    for a, b in zip(mine, its, strict=True):
        if a.device != b.device:
            raise NearfarError(
                f"source is on {b.device} but its momentum encoder is on {a.device}; wanted the "
                f"same: momentum_encoder.to({str(b.device)!r})."
            )
    return mine, its
