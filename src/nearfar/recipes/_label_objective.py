"""A few labels beside the contrastive game: cross-entropy on the encoder's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.errors import NearfarError, check_range
from nearfar.experiment import Auxiliary, Exhibit
from nearfar.loss._ranks import Ranks
from nearfar.model import Model
from nearfar.pairs import Batch
from nearfar.probes import Labelled

_UNKNOWN = -1


class LabelObjective(Auxiliary):
    """Cross-entropy of a linear classifier, over the batch's items whose label is known.

    Args:
        width: Numbers in the encoder's vector.
        classes: Names of the labels.
        targets: (items,) the label's number by the item's id, -1 where it is not known.
        weight: Its loss is multiplied by this.

    Attributes:
        classes: In the order of the classifier's logits.
    """

    def __init__(self, width: int, classes: Sequence[str], targets: Tensor, weight: float) -> None:
        super().__init__()
        self.targets: Tensor
        self.classes, self.weight = list(classes), weight
        self.classifier = nn.Linear(width, len(classes))
        self.register_buffer("targets", targets, persistent=False)

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        """The mean over labelled items, of all ranks; zero, with a graph, where there are none."""
        targets = self.targets[batch.ids]
        logits = self.classifier(vectors).float()
        losses = functional.cross_entropy(logits, targets, ignore_index=_UNKNOWN, reduction="sum")
        ranks = Ranks()
        count = ranks.mean((targets != _UNKNOWN).sum().float())
        return losses / count.clamp(min=1 / ranks.size)

    @torch.no_grad()
    def accuracy(self, model: Model, inputs: Sequence[Any], labels: Sequence[str]) -> float:
        """How often the classifier names an input's label, 0 to 1."""
        device = next(model.parameters()).device
        classifier, right = self.classifier.to(device), 0
        for start in range(0, len(inputs), model.reader.batch_size):
            part = slice(start, start + model.reader.batch_size)
            batch = model.reader.read(inputs[part]).to(device)
            logits = classifier(model.encoder(model.reader.prepare(batch)))
            named = [self.classes[number] for number in logits.argmax(1).tolist()]
            right += sum(a == b for a, b in zip(named, labels[part], strict=True))
        return right / len(inputs)


def label_objective(
    width: int,
    ids: Tensor,
    labels: Sequence[str] | None,
    known: Sequence[bool],
    fraction: float,
    weight: float,
) -> LabelObjective:
    """Choose the labels that training may know: as many of each class, one at least.

    Args:
        width: Numbers in the encoder's vector.
        ids: (N,) the items'.
        labels: (N,) the items'.
        known: (N,) False for items that the evaluation keeps for itself.
        fraction: Share of the known items' labels, 0 < fraction <= 1.
        weight: The loss is multiplied by this.

    Raises:
        NearfarError: No labels, or a share that is none.
    """
    check_range(0, 1, "(]", labels_fraction=fraction)
    classes = sorted(set(labels or ()))
    if labels is None or len(classes) < 2:
        raise NearfarError(
            f"objective='info_nce+cross_entropy' learns from labels, and there are "
            f"{len(classes)} of them. Wanted sub-folders whose names are the labels."
        )
    targets = torch.full((int(ids.max()) + 1,), _UNKNOWN)
    chosen = torch.Generator().manual_seed(0)
    for number, name in enumerate(classes):
        rows = [row for row, label in enumerate(labels) if label == name and known[row]]
        order = torch.randperm(len(rows), generator=chosen)[: max(1, round(fraction * len(rows)))]
        for place in order.tolist():
            targets[ids[rows[place]]] = number
    return LabelObjective(width, classes, targets, weight)


def classifier_exhibit(objective: LabelObjective, model: Model, probe: Labelled) -> Exhibit:
    """What the classifier that trained beside the game makes of the held-out items."""
    learned = int((objective.targets != _UNKNOWN).sum())
    share = objective.accuracy(model, probe.queries, probe.query_labels)
    return Exhibit(
        title="The classifier that trained beside the game",
        text=f"From {learned:,} labels of {len(objective.classes)} classes it names "
        f"{share:.1%} of the {len(probe.queries):,} held-out items right.",
    )
