"""What a step asks and sends back: plain, against a memory bank, in chunks, of auxiliaries too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
Look = Callable[[Mapping[str, Tensor]], None]
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

    def forward(self, x: Any) -> Tensor:
        out: Tensor = self.model(x)
        return out


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
        self._experiment, self._learner, self._backward = experiment, learner, backward
        self._devices, self._autocast = train.devices, autocast
        self._objectives: Objectives | None = None
        if experiment.auxiliaries:
            self._objectives = Objectives(learner, train.aggregator, backward)
        self.memory = None if train.bank is None else _Memory(experiment, train, autocast)
        self._key_encoder = learner if self.memory is None else self.memory
        self._cache: GradCache | None = None
        if train.cache_chunk is not None:
            self._cache = GradCache(
                learner, self._ask, train.cache_chunk, self._key_encoder, backward=backward
            )

    def __call__(self, batch: Batch, look: Look | None = None) -> Seen:
        """Take the step.

        Args:
            batch: As the pairs drew it.
            look: Called with every objective's loss, unweighted and with its graph.
        """
        within = batch.weight is not None or batch.mask is not None
        if within and self._devices > 1:
            raise SharedError(
                f"devices={self._devices}: these pairs say who is whose partner within a batch, "
                "and a process would miss those that another one holds. Wanted --devices 1."
            )
        if within and self.memory is not None:
            raise SharedError(
                f"bank={self.memory.bank.size}: these pairs say who is whose partner within a "
                "batch, and not whose a key of an earlier batch is. Leave --bank out."
            )
        if self.memory is not None:
            self.memory.encoder.update(self._experiment.model)
        others: dict[str, Tensor] = {}
        if self._cache is not None:
            loss = self._cache(batch.query, batch.key, **batch.relation)
            query, key = self._seen
        else:
            losses = self.losses(batch)
            query, key = self._seen  # before a look plays again
            if look is not None:
                look(losses)
            if self._objectives is None:
                self._backward(losses[CONTRASTIVE])
            else:
                self._objectives(self._weighted(losses))
            loss = losses.pop(CONTRASTIVE)
            others = {name: x.detach() for name, x in losses.items()}
        if self.memory is not None:
            self.memory.bank.enqueue(key, batch.ids)
        return Seen(loss.detach(), query, key, batch.ids, others)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Every objective's loss, unweighted, from one pass over the batch.

        The contrastive one is called ``contrastive`` and comes first. Several of them bypass the
        learner's wrapper, which knows one backward pass a step: `Objectives` averages over ranks.
        """
        experiment = self._experiment
        if not experiment.auxiliaries:
            query, key = self._learner(batch.query), self._key_encoder(batch.key)
            return {CONTRASTIVE: self._ask(query, key, **batch.relation)}
        model = experiment.model
        with self._autocast():
            vectors = model.encoder(batch.query)
            query = model.head(vectors) if model.head else vectors
            key = model(batch.key) if self.memory is None else self.memory(batch.key)
        found = {CONTRASTIVE: self._ask(query.float(), key.float(), **batch.relation)}
        with self._autocast():
            for name, auxiliary in experiment.auxiliaries.items():
                found[name] = auxiliary(model, batch, vectors)
        return found

    def _weighted(self, losses: Mapping[str, Tensor]) -> list[Tensor]:
        experiment = self._experiment
        weights = {CONTRASTIVE: experiment.contrastive_weight}
        weights |= {name: one.weight for name, one in experiment.auxiliaries.items()}
        return [weight * losses[name] for name, weight in weights.items() if weight]

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
