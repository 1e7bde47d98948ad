"""A residual network for small pictures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder


class _Block(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width_in != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class ResNet(Encoder):
    """Small ResNet: a patch stem, then stages that halve the side and widen, then the mean.

    The stem is a strided patch because a CPU spends its minutes on the stage with the most pixels.

    Args:
        widths: Channels of each stage; the last is the width of the embedding.
        blocks: Residual blocks in each stage.
        patch: Side of the stem's square patch; it moves by half of that.
        channels: Channels of the picture.

    Shapes:
        (N, channels, H, W) -> (N, widths[-1])

    Example:
        >>> import torch
        >>> ResNet([16, 32])(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 32])
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        blocks: int = 1,
        patch: int = 4,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.settings = {
            "widths": list(widths),
            "blocks": blocks,
            "patch": patch,
            "channels": channels,
        }
        self.dim = widths[-1]
        stem = nn.Conv2d(channels, widths[0], patch, max(1, patch // 2), bias=False)
        layers: list[nn.Module] = [stem, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        width_in = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(_Block(width_in, width, 2 if stage and not block else 1))
                width_in = width
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out
