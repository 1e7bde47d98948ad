"""The other libraries' losses, called as their users call them."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module

import torch
from field import BIAS, Loss, contestant, labels

ROWS = 1024  # mini_batch_size of sentence-transformers' cached loss: its default, 32, is slower
BOTH_WAYS = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}


@cache
def torchvision() -> None:
    """Make it importable: three peers import it on the way, and none of their losses calls it.

    The package index has its GPU build only. Beside a CPU build of torch its operators do not load,
    and importing it fails unless somebody has declared them.
    """
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for half_imported in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[half_imported]
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
        import_module("torchvision")


def sentence_transformers(kind: str, tau: float, **words: object) -> Loss:
    """One of its losses; the model would only have made the embeddings."""
    torchvision()
    losses = import_module("sentence_transformers.sentence_transformer.losses")
    nobody = torch.nn.Sequential(torch.nn.Identity())
    return getattr(losses, kind)(nobody, scale=1 / tau, **words)


@contestant("one-way", "info-nce-pytorch", "info-nce-pytorch", buffers=4)
def _(tau: float) -> Loss:
    from info_nce import InfoNCE

    return InfoNCE(tau)


@contestant("one-way", "sentence-transformers", "sentence-transformers", buffers=5)
def _(tau: float) -> Loss:
    loss = sentence_transformers("MultipleNegativesRankingLoss", tau)
    return lambda q, k: loss.compute_loss_from_embeddings([q, k], None)


@contestant("symmetric", "sentence-transformers", "sentence-transformers", buffers=9)
def _(tau: float) -> Loss:
    loss = sentence_transformers("MultipleNegativesRankingLoss", tau, **BOTH_WAYS)
    return lambda q, k: loss.compute_loss_from_embeddings([q, k], None)


def cached(tau: float, **words: object) -> Loss:
    """Its loss stage goes backward on its own, a mini batch at a time."""
    kind = "CachedMultipleNegativesRankingLoss"
    loss = sentence_transformers(kind, tau, mini_batch_size=ROWS, **words)
    return lambda q, k: loss.calculate_loss([[q], [k]], with_backward=True)


@contestant("one-way", "sentence-transformers, cached", "sentence-transformers")
def _(tau: float) -> Loss:
    return cached(tau)


@contestant("symmetric", "sentence-transformers, cached", "sentence-transformers")
def _(tau: float) -> Loss:
    return cached(tau, **BOTH_WAYS)


@contestant("symmetric", "open_clip", "open_clip_torch", buffers=5.5)
def _(tau: float) -> Loss:
    torchvision()
    from open_clip.loss import ClipLoss

    loss = ClipLoss()
    return lambda q, k: loss(q, k, 1 / tau)


@contestant("SigLIP", "open_clip", "open_clip_torch", buffers=6.5)
def _(tau: float) -> Loss:
    torchvision()
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss()
    return lambda q, k: loss(q, k, 1 / tau, BIAS)


@contestant("NT-Xent", "lightly", "lightly", buffers=19)
def _(tau: float) -> Loss:
    torchvision()
    from lightly.loss import NTXentLoss

    return NTXentLoss(tau)


@contestant("NT-Xent", "pytorch-metric-learning", "pytorch-metric-learning", cubic=34)
def _(tau: float) -> Loss:
    from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss

    return SelfSupervisedLoss(NTXentLoss(tau))


@contestant("SupCon", "pytorch-metric-learning", "pytorch-metric-learning", buffers=49)
def _(tau: float) -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    loss = SupConLoss(tau)

    return lambda rows: loss(rows, labels(len(rows)))
