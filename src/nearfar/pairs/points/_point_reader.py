"""Points in the plane, from a mixture's name, a table or an array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs._reader import Inputs, Reader
from nearfar.pairs.points._mixture import mixture
from nearfar.probes import Embed, Vectors

# Points that a mixture's name stands for where points are asked for.
POINTS = 1000


class PointReader(Reader):
    """Pairs of numbers.

    Args:
        scale: The encoder sees them divided by this.

    Example:
        >>> reader = PointReader(scale=2.0)
        >>> reader.prepare(reader.read([(1, 2)])).tolist()
        [[0.5, 1.0]]
    """

    example = "0.5,-0.5"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self.settings = {"scale": scale}

    def read(self, inputs: Sequence[Any]) -> Tensor:
        """(N, 2) float32; an input is two numbers, or their text ``x,y``.

        Raises:
            NearfarError: An input that is not two finite numbers.
        """
        if not len(inputs):
            return torch.empty((0, 2))
        return torch.stack([_point(item) for item in inputs])

    def prepare(self, batch: Tensor) -> Tensor:
        """(N, 2) to (N, 2), scaled."""
        return batch.float() / self.scale

    def find(self, path: str) -> Inputs:
        """``ring``, ``grid``, an .npy array (N, 2), or a text file with two numbers a line.

        Raises:
            NearfarError: None of these.
        """
        if path in ("ring", "grid"):
            points, modes = mixture(path).points(POINTS, seed=1)
            names = [f"{path}:{row}" for row in range(POINTS)]
            return Inputs(names, list(points.numpy()), [f"mode {mode}" for mode in modes.tolist()])
        array = _array(path)
        good = np.isfinite(array).all(1)
        name = Path(path).name
        rows = np.flatnonzero(good).tolist()
        skipped = {
            f"{name}:{row}": f"{name}, point {row}: {array[row].tolist()} is not finite"
            for row in np.flatnonzero(~good).tolist()
        }
        return Inputs([f"{name}:{row}" for row in rows], list(array[rows]), None, skipped)

    def baselines(self) -> dict[str, Embed]:
        """The two numbers themselves."""

        def raw(inputs: Sequence[Any]) -> Vectors:
            vectors: Vectors = self.read(inputs).numpy()
            return vectors

        return {"raw input": raw}


def _point(item: Any) -> Tensor:
    try:
        numbers = item.split(",") if isinstance(item, str) else item
        x, y = (float(number) for number in numbers)
    except (TypeError, ValueError):
        x = y = float("nan")
    point = torch.tensor([x, y])
    if not point.isfinite().all():
        raise NearfarError(f"{item!r} is no point; wanted two finite numbers, such as 0.5,-0.5.")
    return point


def _array(path: str) -> NDArray[np.float32]:
    wanted = "Wanted ring, grid, an .npy file of shape (N, 2), or text with two numbers a line."
    if not Path(path).is_file():
        raise NearfarError(f"path={path!r}: there is no such file. {wanted}")
    try:
        if path.endswith(".npy"):
            array = np.load(path, allow_pickle=False)
        else:
            array = np.loadtxt(path, delimiter="," if "," in Path(path).read_text() else None)
        array = np.asarray(array, dtype=np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise NearfarError(f"path={path!r} cannot be read as points ({error}). {wanted}") from error
    if array.ndim != 2 or array.shape[1] != 2 or not len(array):
        raise NearfarError(f"path={path!r} holds an array of shape {array.shape}. {wanted}")
    return array
