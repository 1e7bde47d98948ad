"""Three digits, one in each colour channel: pictures with 1,000 modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.pairs._image_reader import ImageReader
from nearfar.pairs._order import seeded
from nearfar.pairs._reader import Inputs

# Stacks that the name stands for where pictures are asked for.
STACKS = 1000


@dataclass(frozen=True)
class Digits:
    """Stacks, and the single digits that they are made of.

    Attributes:
        pixels: (N, 3, 8, 8) uint8.
        modes: (N,) the number that the three digits spell, 0 to 999.
        singles: (M, 64) floats in 0..1, single digits.
        numbers: (M,) which digit each is.
    """

    pixels: Tensor
    modes: Tensor
    singles: NDArray[np.float32]
    numbers: NDArray[np.int64]


def stacked_digits(number: int, seed: int = 0) -> Digits:
    """Stacks of three random digits of scikit-learn's 1,797 (8 x 8 pixels).

    The 1,000 modes are those of stacked MNIST (Metz et al. 2017, arXiv 1611.02163, section 3.3.1),
    on pictures that need no download.

    Args:
        number: How many stacks.
        seed: Which.
    """
    from sklearn.datasets import load_digits

    pictures, numbers = load_digits(return_X_y=True)
    pixels = torch.from_numpy((pictures * 255 / 16).round().astype(np.uint8)).view(-1, 8, 8)
    with seeded(seed):
        chosen = torch.randint(len(pixels), (number, 3))
    digits = torch.from_numpy(numbers)[chosen]
    return Digits(
        pixels=pixels[chosen],
        modes=digits @ torch.tensor([100, 10, 1]),
        singles=(pictures / 16).astype(np.float32),
        numbers=numbers,
    )


class StackReader(ImageReader):
    """Pictures of 8 pixels a side; the name ``stacked_digits`` stands for new stacks.

    Args:
        size: Side in pixels of what the encoder sees.
    """

    def __init__(self, size: int = 8) -> None:
        super().__init__(size)

    def find(self, path: str) -> Inputs:
        """The pictures of a folder, or new stacks, labelled by their first digit."""
        if path != "stacked_digits":
            return super().find(path)
        stacks = stacked_digits(STACKS, seed=2)
        modes = stacks.modes.tolist()
        return Inputs(
            [f"stack {mode:03d}" for mode in modes],
            list(stacks.pixels.permute(0, 2, 3, 1).numpy()),
            [f"digit {mode // 100}" for mode in modes],
        )
