"""What lies between two losses in training: an encoder's step.

It leaves the processor's caches full of other code and data. Without it, contestants that are made
of the same PyTorch operations find theirs there: at 64 rows, where a step is made of overhead, that
was worth a fifth to plain PyTorch and an eighth to nearfar.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTH, MOST = 256, 1024


class EncoderStep:
    """Forward, backward and update of a small encoder; call it.

    Args:
        rows: Of its batch, and MOST at most.
    """

    def __init__(self, rows: int) -> None:
        self.rows = torch.randn(min(rows, MOST), WIDTH)
        self.encoder = nn.Sequential(
            nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )
        self.optimizer = torch.optim.AdamW(self.encoder.parameters())

    def __call__(self) -> None:
        """One step."""
        self.optimizer.zero_grad()
        self.encoder(self.rows).square().mean().backward()
        self.optimizer.step()
