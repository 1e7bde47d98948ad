"""What a step asks and sends back: plain, against a memory bank, in chunks, of auxiliaries too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nearfar.experiment import Experiment, Train
from nearfar.loss import GradCache, MemoryBank, MomentumEncoder, info_nce
from nearfar.pairs import Batch
from nearfar.train._objectives import Objectives
from nearfar.train._together import SharedError

CONTRASTIVE = "contrastive"
Autocast = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Seen:
    """The game of a step; nothing in it holds a graph.

    Attributes:
        loss: 0-dim, the contrastive one.
        query: (N, D).
        key: (N, D), row i the partner of query i.
        ids: (N,), equal where rows are no negatives.
        others: The loss of each auxiliary objective, unweighted, 0-dim.
    """

    loss: Tensor
    query: Tensor
    key: Tensor
    ids: Tensor
    others: dict[str, Tensor]


class Learner(nn.Module):
    """All that has parameters, as the one module that Fabric wraps."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.model = experiment.model
        self.temperature = experiment.temperature
        self.auxiliaries = nn.ModuleDict(dict(experiment.auxiliaries))

    def forward(self, x: Any, *, both: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Projections; with ``both``, the encoder's vectors and their projections."""
        model = self.model
        if not both:
            out: Tensor = model(x)
            return out
        vectors: Tensor = model.encoder(x)
        return vectors, model.head(vectors) if model.head else vectors


class Step:
    """Encodes a batch, asks the loss and adds its gradients to every ``.grad``.

    Args:
        experiment: What is learned.
        train: Whether there is a bank, and whether a batch is encoded in chunks.
        learner: The experiment's model, wrapped.
        backward: Called with the loss in place of its ``backward()``.
        autocast: The precision of what is not encoded by the learner.

    Attributes:
        memory: What a checkpoint must hold beside the learner, or None.
    """

    def __init__(
        self,
        experiment: Experiment,
        train: Train,
        learner: nn.Module,
        *,
        backward: Callable[[Tensor], object],
        autocast: Autocast,
    ) -> None:
        self._experiment, self._learner = experiment, learner
        self._devices, self._autocast = train.devices, autocast
        self._objectives = Objectives(learner, train.aggregator, backward)
        self.memory = None if train.bank is None else _Memory(experiment, train, autocast)
        self._key_encoder = learner if self.memory is None else self.memory
        self._cache: GradCache | None = None
        if train.cache_chunk is not None:
            self._cache = GradCache(
                learner, self._ask, train.cache_chunk, self._key_encoder, backward=backward
            )

    def __call__(self, batch: Batch) -> Seen:
        if (batch.weight is not None or batch.mask is not None) and self._devices > 1:
            raise SharedError(
                f"devices={self._devices}: these pairs say who is whose partner within a batch, "
                "and a process would miss those that another one holds. Wanted --devices 1."
            )
        if self.memory is not None:
            self.memory.encoder.update(self._experiment.model)
        others: dict[str, Tensor] = {}
        if self._cache is not None:
            loss = self._cache(batch.query, batch.key, **batch.relation)
        else:
            losses = self.losses(batch)
            self._objectives([self._weight(name) * x for name, x in losses.items()])
            loss = losses.pop(CONTRASTIVE)
            others = {name: x.detach() for name, x in losses.items()}
        query, key = self._seen
        if self.memory is not None:
            self.memory.bank.enqueue(key, batch.ids)
        return Seen(loss.detach(), query, key, batch.ids, others)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Every objective's loss, unweighted, from one pass over the batch.

        The contrastive one is called ``contrastive`` and comes first.
        """
        experiment = self._experiment
        if not experiment.auxiliaries:
            query, key = self._learner(batch.query), self._key_encoder(batch.key)
            return {CONTRASTIVE: self._ask(query, key, **batch.relation)}
        vectors, query = self._learner(batch.query, both=True)
        found = {CONTRASTIVE: self._ask(query, self._key_encoder(batch.key), **batch.relation)}
        with self._autocast():
            for name, auxiliary in experiment.auxiliaries.items():
                found[name] = auxiliary(experiment.model, batch, vectors)
        return found

    def _weight(self, name: str) -> float:
        experiment = self._experiment
        if name == CONTRASTIVE:
            return experiment.contrastive_weight
        return experiment.auxiliaries[name].weight

    def _ask(self, query: Tensor, key: Tensor, **relation: Any) -> Tensor:
        self._seen = (query.detach(), key.detach())
        objective = self._experiment.objective
        if self.memory is None:
            return objective(query, key, **relation)
        return info_nce(
            query,
            key,
            self.memory.bank.keys,
            self._experiment.temperature,
            in_batch=True,
            **relation,
            negative_ids=self.memory.bank.ids,
            decoupled=getattr(objective, "decoupled", False),
        )


class _Memory(nn.Module):
    """MoCo: a slow copy of the model encodes keys; a bank keeps those of earlier batches.

    On several devices the copy's batch norms are synchronised as the model's are. No key tells then
    where it was encoded, and MoCo's shuffling (`nearfar.loss.shuffled`) would move all inputs to
    mend nothing.
    """

    def __init__(self, experiment: Experiment, train: Train, autocast: Autocast) -> None:
        super().__init__()
        model = experiment.model
        self.encoder = MomentumEncoder(model, 0.999 if train.momentum is None else train.momentum)
        self.bank = MemoryBank(train.bank or 0, (model.head or model.encoder).dim)
        self._autocast = autocast

    def forward(self, x: Tensor) -> Tensor:
        with self._autocast():
            key: Tensor = self.encoder(x)
        return key.float()
