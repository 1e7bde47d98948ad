"""What is learned (`Experiment`) and how (`Train`): frozen, typed, the same for every recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import Temperature
from nearfar.model import Model
from nearfar.pairs import Pairs

Objective = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Labelled inputs to judge embeddings by; training never sees the labels.

    Attributes:
        gallery: Inputs whose labels a classifier may learn from.
        gallery_labels: Their labels.
        queries: Inputs it is tested on.
        query_labels: Their labels.
    """

    gallery: Sequence[Any]
    gallery_labels: Sequence[str]
    queries: Sequence[Any]
    query_labels: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One application: what a pair is, who looks at it, and what is asked of them.

    Attributes:
        model: Reader, encoder and head; the key's encoder is the query's.
        pairs: The data, and how two views are drawn from an item.
        objective: ``objective(query, key, ids=ids)``, the loss of a batch of projections.
        temperature: The objective's temperature; the loop advances its schedule and shows it.
        inputs: What `Model.embed` takes, one per item: for maps, neighbours and searches.
        labels: Label of each item, for evaluation and pictures only.
        probe: Labelled inputs to judge by, if there are any.
        skipped: Inputs that could not be read, each with the reason.
        steps: Steps that suit this recipe when the user names none.
    """

    model: Model
    pairs: Pairs
    objective: Objective
    temperature: Temperature
    inputs: Sequence[Any]
    labels: Sequence[str] | None = None
    probe: Probe | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    steps: int = 3000


@dataclass(frozen=True, kw_only=True)
class Train:
    """How to train; the same for every recipe.

    Args:
        out: The run's folder; the same folder again resumes.
        steps: Optimiser steps; the recipe knows a good number.
        batch_size: Items a step; 128, or all of the data where it holds fewer.
        lr: Highest learning rate.
        weight_decay: On weight matrices only, not on biases and norms.
        optimizer: adamw, sgd (momentum 0.9) or lars (for batches of thousands).
        warmup: Share of the steps in which the rate rises; then it falls as a cosine.
        clip: Largest norm of the gradient; 0 for no limit.
        bank: Negatives come from a queue of this many earlier keys too, as in MoCo; a slow copy of
            the encoder makes the keys, and the loss is InfoNCE with the recipe's temperature.
        momentum: Share of its weights that the slow copy keeps at a step; 0.999 with a bank.
        cache_chunk: Encode this many items at a time, for a batch that does not fit the memory; a
            step takes about a third longer, and batch norms see one chunk at a time.
        precision: What the encoder computes in; auto is bf16 where the device is fast at it.
        accelerator: cpu, cuda, mps or auto.
        seed: All randomness follows from it.
        checkpoint_seconds: Time between two checkpoints.
        fresh: Start over even if the folder holds a run; the old run is deleted.
    """

    out: str | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float = 1.5e-3
    weight_decay: float = 1e-4
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    warmup: float = 0.1
    clip: float = 0.0
    bank: int | None = None
    momentum: float | None = None
    cache_chunk: int | None = None
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    accelerator: str = "auto"
    seed: int = 0
    checkpoint_seconds: float = 30.0
    fresh: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "bank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise NearfarError(f"{name}={value}: wanted a positive whole number.")
        if not 0 <= self.warmup < 1:
            raise NearfarError(
                f"warmup={self.warmup}: wanted a share of the steps, 0 <= warmup < 1."
            )
        if self.lr <= 0:
            raise NearfarError(f"lr={self.lr}: wanted a positive learning rate.")
        if self.cache_chunk is not None and self.cache_chunk < 4:
            raise NearfarError(
                f"cache_chunk={self.cache_chunk}: wanted 4 or more, so that batch norms have rows "
                "to compare; 64 is a good beginning."
            )
        if self.momentum is not None and self.bank is None:
            raise NearfarError(
                f"momentum={self.momentum} says how slowly the encoder of a bank's keys follows, "
                "and there is no bank. Add --bank 65536, or leave --momentum out."
            )
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise NearfarError(
                f"momentum={self.momentum}: wanted the share of its weights that the encoder of "
                "keys keeps at a step, 0 <= momentum < 1; 0.999 is MoCo's."
            )


def held_out(
    inputs: Sequence[Any], labels: Sequence[str] | None, share: float = 0.2
) -> Probe | None:
    """A stratified split: most items teach a classifier, ``share`` of them test it.

    Training does see the held-out items, never their labels.

    Args:
        inputs: N inputs.
        labels: Their labels; None, or a label with fewer than two items, gives no probe.
        share: What is held out.
    """
    from sklearn.model_selection import train_test_split

    classes = Counter(labels or ())
    if labels is None or min(classes.values()) < 2 or len(labels) * share < len(classes):
        return None
    gallery, queries, gallery_labels, query_labels = train_test_split(
        list(inputs), list(labels), test_size=share, stratify=labels, random_state=0
    )
    return Probe(
        gallery=gallery,
        gallery_labels=gallery_labels,
        queries=queries,
        query_labels=query_labels,
    )
