"""What a path holds for a two-player game, and how its fakes are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.pairs import ImageFolder, ImageReader, Reader
from nearfar.pairs.points import PointReader, StackReader, mixture, stacked_digits
from nearfar.probes import (
    FidelityProbe,
    ModeProbe,
    Probe,
    Sampler,
    nearest_centre,
    stacked_classifier,
)

# Points and stacks to train on; pictures held out, a fifth of a folder at most.
ITEMS, HELD_OUT = 100_000, 2000


@dataclass(frozen=True, kw_only=True)
class Data:
    """Real items.

    Attributes:
        reader: Prepares them for the discriminator.
        items: (N, ...) what it prepares.
        names: (N,).
        inputs: (N,) what `Model.embed` takes.
        probe: Judges samplers; none of its reals are among the items.
        summary: A sentence about them.
        shown: Samples in a sketch.
        steps: That suit them.
        size: Side of pictures, None for points.
        scale: Of points, 1 for pictures.
        labels: (N,) or None.
        skipped: What could not be read.
    """

    reader: Reader
    items: Tensor
    names: Sequence[str]
    inputs: Sequence[Any]
    probe: Callable[[Mapping[str, Sampler]], Probe]
    summary: str
    shown: int
    steps: int
    size: int | None = None
    scale: float = 1.0
    labels: Sequence[str] | None = None
    skipped: dict[str, str] = field(default_factory=dict)


def find(path: str, size: int | None) -> Data:
    """The data of a name, or of a folder of pictures.

    Args:
        path: ``ring``, ``grid``, ``stacked_digits``, or a folder.
        size: Side of a folder's pictures.

    Raises:
        NearfarError: A size for what has its own; no folder, or no pictures in it.
    """
    known = {"ring": _points, "grid": _points, "stacked_digits": _stacks}
    if path not in known:
        return _pictures(path, size or 32)
    if size is not None:
        raise NearfarError(f"size={size}: {path} has a size of its own; leave it out.")
    return known[path](path)


def _points(name: str) -> Data:
    source = mixture(name)
    points, modes = source.points(ITEMS, seed=0)
    again, _ = source.points(2500, seed=2)
    naming = nearest_centre(source.centres.numpy(), source.deviation)

    def probe(samplers: Mapping[str, Sampler]) -> Probe:
        return ModeProbe(
            samplers=samplers,
            real=lambda number: again.numpy()[:number],
            naming=naming,
            modes=len(source.centres),
            number=2500,
            quality="within 3 deviations of the nearest centre",
        )

    return Data(
        reader=PointReader(source.scale),
        items=points,
        names=[f"{name}:{row}" for row in range(len(points))],
        inputs=list(points.numpy()),
        probe=probe,
        summary=f"{name}: {len(source.centres)} modes of deviation {source.deviation}",
        shown=1000,
        steps=10_000,
        scale=source.scale,
        labels=[f"mode {mode}" for mode in modes.tolist()],
    )


def _stacks(name: str) -> Data:
    stacks, others = stacked_digits(ITEMS), stacked_digits(26_000, seed=1)
    again = others.pixels.numpy() / 255

    def probe(samplers: Mapping[str, Sampler]) -> Probe:
        return ModeProbe(
            samplers=samplers,
            real=lambda number: again[:number].astype("float32"),
            naming=stacked_classifier(stacks.singles, stacks.numbers),
            modes=1000,
            number=26_000,
            quality="each channel is as near to a digit as 95 % of the digits are to another",
        )

    return Data(
        reader=StackReader(),
        items=stacks.pixels,
        names=[f"stack {mode:03d}" for mode in stacks.modes.tolist()],
        inputs=list(stacks.pixels.permute(0, 2, 3, 1).numpy()),
        probe=probe,
        summary=f"{name}: {ITEMS:,} stacks of three of scikit-learn's 1,797 digits, 1,000 modes",
        shown=36,
        steps=3000,
        size=8,
    )


def _pictures(path: str, size: int) -> Data:
    folder = ImageFolder(path, size, detail=1)
    order = torch.randperm(len(folder.pixels), generator=torch.Generator().manual_seed(0))
    held = min(HELD_OUT, len(order) // 5)
    test, kept = order[:held], order[held:].sort().values
    rows = kept.tolist()
    labels = folder.labels
    return Data(
        reader=ImageReader(size),
        items=folder.pixels[kept],
        names=[folder.names[row] for row in rows],
        inputs=[folder.files[row] for row in rows],
        probe=partial(_fidelity, folder.pixels[kept], folder.pixels[test]),
        summary=f"{held:,} pictures are held out: made ones are compared with those. On "
        "photographs the contrastive game has failed so far (docs/gan.md), the plain GAN has not",
        shown=36,
        steps=3000,
        size=size,
        labels=None if labels is None else [labels[row] for row in rows],
        skipped=folder.skipped,
    )


def _fidelity(trained: Tensor, held: Tensor, samplers: Mapping[str, Sampler]) -> Probe:
    # Evenly spread: files are sorted, so the first ones may all be of one folder.
    rows = torch.linspace(0, len(trained) - 1, len(held)).round().long()
    return FidelityProbe(
        samplers=samplers,
        trained=(trained[rows].numpy() / 255).astype("float32"),
        real=(held.numpy() / 255).astype("float32"),
    )
