"""The projection head: what training compares, and what is dropped afterwards."""

from __future__ import annotations

from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder


class ProjectionHead(Encoder):
    """Linear, batch norm, ReLU, linear (Chen et al. 2020, SimCLR, section 4.2).

    The loss makes its input forget whatever the views change; the vector *before* this head still
    has it, so that one is the embedding.

    Args:
        dim_in: Width of the encoder's vector.
        hidden: Width of the hidden layer.
        out: Width of the vectors that the loss compares.

    Shapes:
        (N, dim_in) -> (N, out)
    """

    def __init__(self, dim_in: int, hidden: int = 512, out: int = 128) -> None:
        super().__init__()
        self.settings = {"dim_in": dim_in, "hidden": hidden, "out": out}
        self.dim = out
        self.body = nn.Sequential(
            nn.Linear(dim_in, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out
