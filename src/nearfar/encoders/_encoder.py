"""What every encoder promises: a width, and settings in plain JSON from which it can be rebuilt."""

from __future__ import annotations

from typing import Any

from torch import nn


class Encoder(nn.Module):
    """A network from a batch of inputs to (N, ``dim``) vectors.

    Attributes:
        dim: Width of the vectors.
        settings: Keyword arguments of the constructor, as plain JSON.
    """

    dim: int
    settings: dict[str, Any]
