"""nearfar, and beside it the best few lines of plain PyTorch, as they are and compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from field import BIAS, FORMS, Loss, Make, contestant, labels
from torch import Tensor
from torch.nn import functional

# Items up to which the positives of SupCon are added up faster in the matrix than beforehand.
FEW = 512


def nearfar(form: str, tau: float, **words: str) -> Loss:
    """This library; ``words`` go to the loss's constructor."""
    from nearfar import loss

    if form == "one-way":
        return loss.InfoNCE(tau, **words)
    if form == "symmetric":
        clip = loss.ClipLoss(**words)
        return lambda q, k: clip(q, k, 1 / tau)
    if form == "NT-Xent":
        return loss.NTXentLoss(tau, **words)
    if form == "SupCon":
        sup_con = loss.SupConLoss(tau, **words)
        return lambda rows: sup_con(rows, labels(len(rows)))
    sig_lip = loss.SigLipLoss(**words)
    return lambda q, k: sig_lip(q, k, 1 / tau, BIAS)


for _form in FORMS:
    contestant(_form, "nearfar", "nearfar")(partial(nearfar, _form))


def dense(form: str, *, buffers: float, compiled: float) -> Callable[[Make], None]:
    """Enter the lines below twice: as they are, and compiled for each shape."""

    def enter(make: Make) -> None:
        contestant(form, "PyTorch", "torch", buffers=buffers)(make)
        contestant(form, "PyTorch, compiled", "torch", buffers=compiled)(
            lambda tau: torch.compile(make(tau), dynamic=False)
        )

    return enter


@dense("one-way", buffers=3.5, compiled=1.5)
def _(tau: float) -> Loss:
    def loss(q: Tensor, k: Tensor) -> Tensor:
        logits = (functional.normalize(q) / tau) @ functional.normalize(k).T
        return functional.cross_entropy(logits, torch.arange(len(q)))

    return loss


@dense("symmetric", buffers=6.5, compiled=1.5)
def _(tau: float) -> Loss:
    def loss(q: Tensor, k: Tensor) -> Tensor:
        q = q / tau
        logits = q @ k.T
        rows = functional.cross_entropy(logits, torch.arange(len(q)))
        columns = (logits.logsumexp(0) - (q * k).sum(1)).mean()
        return (rows + columns) / 2

    return loss


@dense("NT-Xent", buffers=13, compiled=4.5)
def _(tau: float) -> Loss:
    def loss(q: Tensor, k: Tensor) -> Tensor:
        z = functional.normalize(torch.cat([q, k]))
        logits = ((z / tau) @ z.T).fill_diagonal_(-torch.inf)
        return functional.cross_entropy(logits, torch.arange(len(z)).roll(len(q)))

    return loss


@dense("SupCon", buffers=18, compiled=8.5)
def _(tau: float) -> Loss:
    def loss(rows: Tensor) -> Tensor:
        label, count = labels(len(rows)), len(rows) // 2
        z = functional.normalize(rows)
        scaled = z / tau
        logits = (scaled @ z.T).fill_diagonal_(-torch.inf)
        if count <= FEW:
            positive = (label[:, None] == label).fill_diagonal_(False)
            pull = torch.where(positive, logits, 0.0).sum(1) / positive.sum(1)
        else:
            partners = z.new_zeros(count, z.shape[1]).index_add(0, label, z)[label] - z
            others = label.bincount(minlength=count)[label] - 1
            pull = (scaled * partners).sum(1) / others
        return (logits.logsumexp(1) - pull).mean()

    return loss


@dense("SigLIP", buffers=3, compiled=1.5)
def _(tau: float) -> Loss:
    def loss(q: Tensor, k: Tensor) -> Tensor:
        q = q / tau
        logits = q @ k.T + BIAS
        return (functional.softplus(logits).sum() - (q * k).sum()) / len(q) - BIAS

    return loss
