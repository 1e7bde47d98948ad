"""What the report of a GAN shows: samples of the same noise over time, the two players apart."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.experiment import Exhibit
from nearfar.recipes._gan_data import Data
from nearfar.recipes._gan_rival import GeneratorRival

# Pixels of a square; of the gap between two.
SIDE, GAP = 160, 8


def exhibits(rival: GeneratorRival, data: Data) -> list[Exhibit]:
    """One section a player: its samples of the same noise at several times, reals at the end.

    Args:
        rival: After training.
        data: What was trained on.
    """
    made = []
    for name, player in rival.players.items():
        history = player.history()
        real = data.items[: len(player.noise)]
        parts = [*history.values(), real / 255 if data.size else real]
        draw = _tiles if data.size else _scatter
        gap = np.full((SIDE, GAP, 3), 255, np.uint8)
        row = [piece for part in parts for piece in (draw(part, data), gap)][:-1]
        made.append(
            Exhibit(
                title=f"Samples over time: {name}",
                text=(
                    f"The same noise after {', '.join(f'{time:,}' for time in history)} steps, by "
                    "the running average of the generator's weights; the last square is real."
                ),
                pictures=np.concatenate(row, axis=1),
            )
        )
    return made


def _scatter(points: Tensor, data: Data) -> NDArray[np.uint8]:
    reach = 1.15 * float(data.items.abs().max())
    place = ((points.cpu() / reach + 1) / 2 * (SIDE - 1)).round().long()
    x, y = place[((place >= 0) & (place < SIDE)).all(1)].T
    picture = np.full((SIDE, SIDE, 3), 240, np.uint8)
    picture[(SIDE - 1 - y).numpy(), x.numpy()] = (31, 82, 155)
    return picture


def _tiles(pictures: Tensor, data: Data) -> NDArray[np.uint8]:
    across = int(len(pictures) ** 0.5)
    pixels = (pictures[: across**2].cpu().float().clamp(0, 1) * 255).round()
    _, _, height, width = pixels.shape
    sheet = pixels.view(across, across, 3, height, width).permute(2, 0, 3, 1, 4)
    sheet = sheet.reshape(1, 3, across * height, across * width)
    big = torch.nn.functional.interpolate(sheet, (SIDE, SIDE), mode="nearest")
    square: NDArray[np.uint8] = big[0].to(torch.uint8).permute(1, 2, 0).numpy()
    return square
