"""The model: what is trained, saved, loaded and asked for embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders import Encoder
from nearfar.errors import NearfarError
from nearfar.files import replace_bytes, replace_text
from nearfar.model._describe import describe, import_recipe, rebuild
from nearfar.pairs import Reader
from nearfar.progress import tracked

Embedding = Literal["encoder", "head"]


class Model(nn.Module):
    """A reader, an encoder and a projection head.

    Args:
        reader: Turns inputs into tensors.
        encoder: Turns tensors into vectors.
        head: What the loss sees on top while training; None for none.
        embedding: ``encoder`` embeds with the vector before the head, as SimCLR does, and the head
            is dropped after training; ``head`` keeps it and embeds with its output.
    """

    def __init__(
        self,
        reader: Reader,
        encoder: Encoder,
        head: Encoder | None = None,
        embedding: Embedding = "encoder",
    ) -> None:
        super().__init__()
        if embedding == "head" and head is None:
            raise NearfarError("embedding='head' needs a projection head, and there is none.")
        self.reader = reader
        self.encoder = encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head = head
        self.embedding: Embedding = embedding

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.head.dim if self.embedding == "head" and self.head else self.encoder.dim

    def forward(self, x: Any) -> Tensor:
        """What the loss compares: N encoder inputs to (N, D) projections."""
        vectors: Tensor = self.encoder(x)
        return self.head(vectors) if self.head else vectors

    @torch.no_grad()
    def embed(
        self, inputs: Sequence[Any], *, batch_size: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Embed inputs: paths or arrays, whatever the reader reads.

        Args:
            inputs: N inputs.
            batch_size: Inputs in memory at a time; by default the reader's own number.
            progress: Show a bar.

        Returns:
            (N, dim) float32 unit vectors.

        Raises:
            NearfarError: An input that cannot be read; it is named.
        """
        if isinstance(inputs, str | Path):
            raise NearfarError(
                f"inputs={str(inputs)!r} is one path; wanted a list: model.embed([path])."
            )
        device = next(self.parameters()).device
        was_training = self.training
        self.eval()
        out = np.empty((len(inputs), self.dim), dtype=np.float32)
        batch_size = batch_size or self.reader.batch_size
        starts = range(0, len(inputs), batch_size)
        for start in tracked(starts, "Embedding", show=progress):
            batch = self.reader.read(inputs[start : start + batch_size]).to(device)
            vectors = self.encoder(self.reader.prepare(batch))
            if self.embedding == "head" and self.head:
                vectors = self.head(vectors)
            out[start : start + batch_size] = functional.normalize(vectors.float()).cpu().numpy()
        self.train(was_training)
        return out

    def save(self, folder: str | Path, **about: Any) -> None:
        """Write ``model.safetensors`` and ``config.json``.

        Args:
            folder: Made if needed.
            about: Facts for people and tools, plain JSON (recipe, settings).
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        keep = self.head if self.embedding == "head" else None
        config = {
            "nearfar": _version(),
            **about,
            "reader": describe(self.reader),
            "encoder": describe(self.encoder),
            "head": describe(keep) if keep else None,
            "dim": self.dim,
        }
        self.save_weights(folder / "model.safetensors")
        replace_text(folder / "config.json", json.dumps(config, indent=2) + "\n")

    def save_weights(self, path: Path) -> None:
        """Write what an embedding needs, and only that, atomically."""
        from safetensors.torch import save

        state = {
            name: value.contiguous()
            for name, value in self.state_dict().items()
            if self.embedding == "head" or not name.startswith("head.")
        }
        replace_bytes(path, save(state))


def load(folder: str | Path, *, weights: str | Path | None = None) -> Model:
    """Load a finished model; neither the training data nor any pickle is needed.

    Args:
        folder: A run's ``model/`` folder, or the run folder that holds it.
        weights: Other weights of the same model (a run's ``checkpoints/untrained.safetensors``).

    Raises:
        NearfarError: There is no model in the folder, its files do not fit each other, or the file
            of the recipe that its classes are from is gone.

    Returns:
        A `Model` on the CPU in evaluation mode: ``load("runs/x").embed(["a.jpg"])``.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
        folder = folder / "model"
    if not (folder / "config.json").is_file():
        raise NearfarError(
            f"{str(folder)!r} holds no model (no config.json). Wanted a run folder whose training "
            "has finished or was stopped with Ctrl-C, or its model/ folder."
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        import_recipe(config)
        head = rebuild(config["head"], Encoder) if config["head"] else None
        model = Model(
            rebuild(config["reader"], Reader),  # type: ignore[type-abstract]
            rebuild(config["encoder"], Encoder),
            head,
            "head" if head else "encoder",
        )
        model.load_state_dict(load_file(weights or folder / "model.safetensors"))
    except (KeyError, TypeError, RuntimeError, OSError, SafetensorError, ValueError) as error:
        if isinstance(error, NearfarError):
            raise
        raise NearfarError(f"The model in {str(folder)!r} cannot be loaded: {error}") from error
    return model.eval()


def holds_model(folder: str | Path) -> bool:
    """Whether `load` finds a model there: a run folder, or its ``model/``; not Hugging Face's."""
    own = Path(folder) / "config.json"
    below = Path(folder) / "model" / "config.json"
    return below.is_file() or (own.is_file() and '"nearfar": ' in own.read_text(encoding="utf-8"))


def _version() -> str:
    try:
        return version("nearfar")
    except PackageNotFoundError:
        return "unknown"
