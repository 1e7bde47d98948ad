"""Clips and pictures in one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixed:
    """Some clips, some pictures, and the order in which they were asked for.

    Attributes:
        parts: (A, S) waveforms and (B, 3, H, W) pictures.
        order: (A + B,) row of each among the clips followed by the pictures.
    """

    parts: tuple[Tensor, Tensor]
    order: Tensor

    def to(self, device: torch.device) -> Mixed:
        """The same on a device."""
        waves, pixels = (part.to(device) for part in self.parts)
        return Mixed((waves, pixels), self.order.to(device))
