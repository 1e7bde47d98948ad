"""What every generator promises: noise in, fakes out, as a reader's `prepare` takes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    """A network from (N, ``latent``) normal noise to N fakes.

    Attributes:
        latent: Width of the noise.
        settings: Keyword arguments of the constructor, as plain JSON.
    """

    latent: int
    settings: dict[str, Any]

    def noise(self, number: int) -> Tensor:
        """(number, latent), drawn from torch's current random state, where the generator is."""
        # Drawn on the CPU, so that a seed gives the same noise on every device.
        return torch.randn(number, self.latent).to(next(self.parameters()).device)

    def draw(self, number: int) -> Tensor:
        """As many fakes."""
        fakes: Tensor = self(self.noise(number))
        return fakes
