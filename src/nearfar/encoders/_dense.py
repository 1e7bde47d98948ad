"""Networks that give every pixel a vector."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders._encoder import Encoder

# Pictures (M, 3, H, W), which of them each row is of (N,), and where (N, 2); None for the mean.
Part = tuple[Tensor, Tensor, Tensor | None]


class DenseEncoder(Encoder):
    """A feature map, looked up at places.

    Attributes:
        stride: Pixels between neighbouring cells of the map.
        offset: Pixel, along each side, at which the first cell is centred.

    Shapes:
        An iterable of parts (pictures (M, 3, H, W) in 0..1, owner (n,), places (n, 2) x and y in
        pixels or None for the picture's mean) -> (N, dim), N the sum of the n.
    """

    stride: int
    offset: float = 0.0

    @abstractmethod
    def map(self, pictures: Tensor) -> Tensor:
        """(M, 3, H, W) in 0..1 to (M, dim, about H / stride, about W / stride)."""

    def forward(self, parts: Iterable[Part]) -> Tensor:
        return torch.cat([self._look_up(*part) for part in parts])

    def _look_up(self, pictures: Tensor, owner: Tensor, places: Tensor | None) -> Tensor:
        cells = self.map(pictures)
        if places is None:
            return functional.normalize(cells.float(), dim=1).mean((2, 3))[owner]
        return bilinear(cells, owner, (places - self.offset) / self.stride)


def bilinear(cells: Tensor, owner: Tensor, places: Tensor) -> Tensor:
    """The four cells around a place, weighted; beyond the edge, the edge's.

    Args:
        cells: (M, D, h, w).
        owner: (N,) which map.
        places: (N, 2) x and y in cells.

    Returns:
        (N, D).
    """
    height, width = cells.shape[2:]
    table = cells.permute(0, 2, 3, 1)
    x, y = places[:, 0].clamp(0, width - 1), places[:, 1].clamp(0, height - 1)
    left, top = x.floor().long(), y.floor().long()
    right, below = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    fx, fy = (x - left)[:, None].to(cells.dtype), (y - top)[:, None].to(cells.dtype)
    upper = table[owner, top, left] * (1 - fx) + table[owner, top, right] * fx
    lower = table[owner, below, left] * (1 - fx) + table[owner, below, right] * fx
    return upper * (1 - fy) + lower * fy


class DenseConv(DenseEncoder):
    """A small convolutional network of stride 4 whose blocks look further and further.

    No layer knows where a pixel is: edges are continued, not filled with zeros, and each place is
    normalised by itself, so that a window and the whole frame give the same vectors.

    Args:
        dim: Width of a vector.
        width: Channels inside.
        dilations: One residual block each; how far its 3 x 3 taps are apart, in cells.

    Example:
        >>> place = torch.tensor([[8.0, 4.0]])
        >>> DenseConv(16, 8, [1])([(torch.zeros(1, 3, 32, 32), torch.tensor([0]), place)]).shape
        torch.Size([1, 16])
    """

    stride = 4

    def __init__(
        self, dim: int = 64, width: int = 96, dilations: Sequence[int] = (1, 2, 4, 8, 1)
    ) -> None:
        super().__init__()
        self.settings = {"dim": dim, "width": width, "dilations": list(dilations)}
        self.dim = dim
        self.stem = nn.Sequential(
            _conv(3, width // 2, 2), _Norm(width // 2), nn.ReLU(), _conv(width // 2, width, 2)
        )
        self.body = nn.Sequential(*(_Block(width, dilation) for dilation in dilations))
        self.out = nn.Sequential(_Norm(width), nn.Conv2d(width, dim, 1))

    def map(self, pictures: Tensor) -> Tensor:
        x = pictures.contiguous(memory_format=torch.channels_last) * 4 - 2
        out: Tensor = self.out(self.body(self.stem(x)))
        return out


class _Norm(nn.Module):
    """Layer norm over the channels of each place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class _Block(nn.Module):
    """A wide look, then a mix of channels, beside a shortcut."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.look = _conv(width, width, 1, dilation)
        self.norm = _Norm(width)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mix(functional.relu(self.norm(self.look(x))))
        return out


def _conv(width_in: int, width: int, stride: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        width_in, width, 3, stride, dilation, dilation=dilation, padding_mode="replicate"
    )
