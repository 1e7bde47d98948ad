"""The same numbers as the other libraries: values and gradients, convention by convention.

docs/drop_in.md tells people about these conventions in a table; it has a row for every case here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import nearfar
from other_libraries import peer

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5}
PAGE = Path(__file__).parents[2] / "docs" / "drop_in.md"


class Batch(NamedTuple):
    """What the losses take; none of the vectors has length one."""

    query: Tensor  # (N, D)
    key: Tensor  # (N, D)
    shared: Tensor  # (M, D)
    own: Tensor  # (N, M, D)
    scale: Tensor  # ()
    bias: Tensor  # ()
    labels: Tensor  # (N,)

    @property
    def both(self) -> Tensor:
        return torch.cat([self.query, self.key])

    @property
    def twice(self) -> Tensor:
        return self.labels.repeat(2)


class Case(NamedTuple):
    peer: str
    convention: str
    theirs: Callable[[Batch], Tensor]
    ours: Callable[[Batch], Tensor]


def each_reduction(loss: Any, *inputs: Tensor, **options: Any) -> Tensor:
    """N losses, their sum and their mean, as one vector."""
    words = ("none", "sum", "mean")
    return torch.cat([loss(*inputs, reduction=word, **options).view(-1) for word in words])


def metric_learning(batch: Batch, *, symmetric: bool) -> Tensor:
    losses = peer("pytorch_metric_learning.losses")
    wrapped = losses.SelfSupervisedLoss(losses.NTXentLoss(), symmetric=symmetric)
    return wrapped(batch.query, batch.key)


def ranking(*columns: Tensor, **options: Any) -> Tensor:
    losses = peer("sentence_transformers.sentence_transformer.losses")
    loss = losses.MultipleNegativesRankingLoss(nn.Identity(), **options)
    return loss.compute_loss_from_embeddings(list(columns), None)


def memory_bank(batch: Batch) -> Tensor:
    loss = peer("lightly.loss").NTXentLoss(memory_bank_size=batch.shared.shape)
    loss.memory_bank.bank = normalize(batch.shared, dim=1)
    return loss(batch.query, batch.key)


def torch_info_nce(
    query: Tensor, positive_key: Tensor, negative_keys: Tensor | None = None, *, reduction: str
) -> Tensor:
    """The proposal for torch.nn.functional, pytorch/pytorch#195380."""
    q, k = normalize(query, dim=1), normalize(positive_key, dim=1)
    if negative_keys is None:
        return cross_entropy(q @ k.T / 0.07, torch.arange(len(q)), reduction=reduction)
    negative = q @ normalize(negative_keys, dim=1).T
    logits = torch.cat([(q * k).sum(1, keepdim=True), negative], dim=1) / 0.07
    target = torch.zeros(len(q), dtype=torch.long)
    return cross_entropy(logits, target, reduction=reduction)


def solo_learn(z: Tensor, indexes: Tensor, temperature: float = 0.1) -> Tensor:
    """Its simclr_loss_func: positives are summed inside the logarithm, and not counted."""
    z = normalize(z, dim=1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf)
    same = indexes[:, None] == indexes
    positive = logits.masked_fill(~same, -torch.inf).logsumexp(1)
    return (logits.logsumexp(1) - positive).mean()


def sup_contrast(
    features: Tensor, labels: Tensor, temperature: float = 0.07, base_temperature: float = 0.07
) -> Tensor:
    """HobbitLong's SupConLoss; (N, views, D) features come with length one."""
    z, labels = torch.cat(features.unbind(1)), labels.repeat(features.shape[1])
    myself = torch.eye(len(z), dtype=torch.bool)
    log_p = (z @ z.T / temperature).masked_fill(myself, -torch.inf).log_softmax(1)
    partner = (labels[:, None] == labels) & ~myself
    pull = torch.where(partner, log_p, 0.0).sum(1) / partner.sum(1)
    return -(temperature / base_temperature) * pull.mean()


CASES = [
    Case(
        "info-nce-pytorch",
        "in-batch negatives",
        lambda b: each_reduction(peer("info_nce").info_nce, b.query, b.key),
        lambda b: each_reduction(nearfar.info_nce, b.query, b.key),
    ),
    Case(
        "info-nce-pytorch",
        "unpaired negatives",
        lambda b: each_reduction(peer("info_nce").info_nce, b.query, b.key, b.shared),
        lambda b: each_reduction(nearfar.info_nce, b.query, b.key, b.shared),
    ),
    Case(
        "info-nce-pytorch",
        "paired negatives",
        lambda b: each_reduction(
            peer("info_nce").info_nce, b.query, b.key, b.own, negative_mode="paired"
        ),
        lambda b: each_reduction(nearfar.info_nce, b.query, b.key, b.own, negative_mode="paired"),
    ),
    Case(
        "torch (proposed)",
        "in-batch negatives",
        lambda b: each_reduction(torch_info_nce, b.query, b.key),
        lambda b: each_reduction(nearfar.info_nce, b.query, b.key, temperature=0.07),
    ),
    Case(
        "torch (proposed)",
        "shared negatives",
        lambda b: each_reduction(torch_info_nce, b.query, b.key, b.shared),
        lambda b: each_reduction(nearfar.info_nce, b.query, b.key, b.shared, temperature=0.07),
    ),
    Case(
        "open_clip",
        "ClipLoss",
        lambda b: peer("open_clip.loss").ClipLoss()(b.query, b.key, b.scale),
        lambda b: nearfar.ClipLoss()(b.query, b.key, b.scale),
    ),
    Case(
        "open_clip",
        "SigLipLoss",
        lambda b: peer("open_clip.loss").SigLipLoss()(b.query, b.key, b.scale, b.bias),
        lambda b: nearfar.SigLipLoss()(b.query, b.key, b.scale, b.bias),
    ),
    Case(
        "lightly",
        "NTXentLoss",
        lambda b: peer("lightly.loss").NTXentLoss()(b.query, b.key),
        lambda b: nearfar.NTXentLoss()(b.query, b.key),
    ),
    Case(
        "lightly",
        "NTXentLoss, memory bank",
        memory_bank,
        lambda b: nearfar.info_nce(b.query, b.key, b.shared.detach(), temperature=0.5),
    ),
    Case(
        "lightly",
        "DCLLoss",
        lambda b: peer("lightly.loss").DCLLoss()(b.query, b.key),
        lambda b: nearfar.NTXentLoss(0.1, decoupled=True)(b.query, b.key),
    ),
    Case(
        "pytorch-metric-learning",
        "NTXentLoss, two views",
        lambda b: metric_learning(b, symmetric=True),
        lambda b: nearfar.NTXentLoss(0.07)(b.query, b.key),
    ),
    Case(
        "pytorch-metric-learning",
        "NTXentLoss, two views, symmetric=False",
        lambda b: metric_learning(b, symmetric=False),
        lambda b: nearfar.InfoNCE(0.07)(b.query, b.key),
    ),
    Case(
        "pytorch-metric-learning",
        "SupConLoss",
        lambda b: peer("pytorch_metric_learning.losses").SupConLoss()(b.query, b.labels),
        lambda b: nearfar.SupConLoss()(b.query, b.labels),
    ),
    Case(
        "sentence-transformers",
        "pairs",
        lambda b: ranking(b.query, b.key),
        lambda b: nearfar.InfoNCE(0.05)(b.query, b.key),
    ),
    Case(
        "sentence-transformers",
        "pairs, both directions",
        lambda b: ranking(
            b.query,
            b.key,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        ),
        lambda b: nearfar.InfoNCE(0.05, symmetric=True)(b.query, b.key),
    ),
    Case(
        "sentence-transformers",
        "triplets",
        lambda b: ranking(b.query, b.key, b.own[:, 0]),
        lambda b: nearfar.InfoNCE(0.05, in_batch=True)(b.query, b.key, b.own[:, 0]),
    ),
    Case(
        "solo-learn",
        "two views",
        lambda b: solo_learn(b.both, torch.arange(len(b.query)).repeat(2)),
        lambda b: nearfar.NTXentLoss(0.1)(b.query, b.key),
    ),
    Case(
        "solo-learn",
        "labels",
        lambda b: solo_learn(b.both, b.twice),
        lambda b: nearfar.SupConLoss(form="in")(b.both, b.twice) - log_partners(b.twice),
    ),
    Case(
        "SupContrast",
        "SupConLoss",
        lambda b: sup_contrast(
            normalize(torch.stack([b.query, b.key], dim=1), dim=2), b.labels, temperature=0.1
        ),
        lambda b: nearfar.SupConLoss(0.1)(b.both, b.twice) * 0.1 / 0.07,
    ),
]


def log_partners(labels: Tensor) -> float:
    partners = (labels[:, None] == labels).sum(1) - 1
    return partners.double().log().mean().item()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.peer}: {case.convention}")
def test_values_and_gradients_agree(case: Case, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shapes = (12, 6), (12, 6), (5, 6), (12, 5, 6)
    vectors = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    numbers = [torch.tensor(x, dtype=dtype, requires_grad=True) for x in (3.0, -2.0)]
    leaves = [*vectors, *numbers]
    batch = Batch(*leaves, labels=torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 4]))

    def value_and_gradients(loss: Tensor) -> list[Tensor]:
        towards = torch.linspace(1, 2, loss.numel(), dtype=dtype).view_as(loss)
        return [loss, *torch.autograd.grad(loss, leaves, towards, materialize_grads=True)]

    theirs = value_and_gradients(case.theirs(batch))
    ours = value_and_gradients(case.ours(batch))
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert any(bool(gradient.any()) for gradient in ours[1:])


def test_the_page_has_a_row_for_every_case() -> None:
    cells = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line[:2] == "| "]
    rows = {(name.strip(), convention.strip()) for name, convention in cells}
    assert {(case.peer, case.convention) for case in CASES} == rows - {("library", "loss")}
