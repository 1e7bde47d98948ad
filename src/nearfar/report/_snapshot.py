"""A sample of the space, kept in the run folder so that a report never needs the data again."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nearfar.errors import NearfarError
from nearfar.experiment import Experiment, Train
from nearfar.files import reading, replace_bytes
from nearfar.pairs import seeded
from nearfar.train import Run

ITEMS = 1000
GAME = 256
WRITE_AGAIN = "Give its `nearfar train` command again: it trains nothing anew and writes the rest."


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the report's pictures are made of.

    Attributes:
        names: (N,) str.
        labels: (N,) str; empty strings where there are none.
        vectors: (N, D) float32, unit embeddings.
        pictures: (N, S, S, 3) uint8, S <= 48, or (0,) where items have no look.
        query: (B, P) float32, unit projections of one random view of the first B items.
        key: (B, P), of another view of the same items.
        crowd: (B, B) bool, True where a key is a query's negative.
        temperature: 0-dim, the temperature at that time.
        in_batch: 0-dim, whether the batch is the crowd; a rival's fakes are not kept.
        commands: What to type next.
    """

    names: NDArray[Any]
    labels: NDArray[Any]
    vectors: NDArray[np.float32]
    pictures: NDArray[np.uint8]
    query: NDArray[np.float32]
    key: NDArray[np.float32]
    crowd: NDArray[np.bool_]
    temperature: NDArray[np.float32]
    in_batch: NDArray[np.bool_]
    commands: NDArray[Any]

    @classmethod
    def load(cls, run: Run) -> Snapshot:
        """Read it back; nothing is unpickled.

        Raises:
            NearfarError: The run has none yet, an older nearfar's, or a damaged one.
        """
        path = run.folder / "snapshot.npz"
        if not path.is_file():
            raise NearfarError(
                f"run={str(run.folder)!r} has nothing to report yet (no snapshot.npz): give its "
                "`nearfar train` command again and let it finish, or stop it with Ctrl-C."
            )
        with (
            reading(path, WRITE_AGAIN),
            path.open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            missing = [name for name in cls.__dataclass_fields__ if name not in arrays.files]
            if missing:
                raise NearfarError(
                    f"run={str(run.folder)!r}: its snapshot.npz, of an older nearfar, lacks "
                    f"{', '.join(missing)}. {WRITE_AGAIN}"
                )
            return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


@torch.no_grad()
def take_snapshot(experiment: Experiment, run: Run, train: Train, commands: list[str]) -> None:
    """Sample items, embed them, play the game once on fresh views, and keep it all.

    Args:
        experiment: After training.
        run: Where ``snapshot.npz`` goes.
        train: Its seed chooses the sample.
        commands: What to type next.
    """
    model, items = experiment.model, len(experiment.pairs)
    generator = torch.Generator().manual_seed(train.seed)
    rows = torch.randperm(items, generator=generator)[:ITEMS]
    device = next(model.parameters()).device
    model.eval()
    with seeded(train.seed, -1):
        batch = experiment.pairs.draw(rows[:GAME], device)
        query, key = (
            functional.normalize(model(view).float()).cpu().numpy()
            for view in (batch.query, batch.key)
        )
    chosen = rows.tolist()
    crowd = batch.ids[:, None] != batch.ids
    strangers = batch.strangers(GAME)
    crowd = crowd if strangers is None else crowd & strangers
    inputs = [experiment.inputs[row] for row in chosen]
    arrays: dict[str, Any] = {
        "names": np.array(experiment.pairs.names(rows), dtype=str),
        "labels": np.array(
            [experiment.labels[row] if experiment.labels else "" for row in chosen], dtype=str
        ),
        "vectors": model.embed(inputs),
        "pictures": _thumbnails(model.reader.pictures(inputs)),
        "query": query,
        "key": key,
        "crowd": crowd.cpu().numpy(),
        "temperature": np.float32(experiment.temperature().item()),
        "in_batch": np.bool_(experiment.rival is None),
        "commands": np.array(commands, dtype=str),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    replace_bytes(run.folder / "snapshot.npz", buffer.getvalue())


def _thumbnails(pictures: torch.Tensor | None, side: int = 48) -> NDArray[np.uint8]:
    if pictures is None:
        return np.zeros(0, np.uint8)
    x = pictures.permute(0, 3, 1, 2).float()
    if x.shape[-1] > side:
        x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    small: NDArray[np.uint8] = x.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return small
