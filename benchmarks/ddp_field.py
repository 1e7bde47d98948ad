"""Losses over several ranks: who competes, and the same formula for one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.distributed as dist
from cpu import TAU
from field import BIAS, ITEMS_PER_LABEL, field, given
from peers import BOTH_WAYS, sentence_transformers, torchvision
from torch import Tensor
from torch.nn import functional

ROWS, WIDTH = 64, 16
BANK = 48  # keys in the memory bank; one batch of ROWS has gone through it


@dataclass(frozen=True)
class Batch:
    """What a loss gets: all rows, or one rank's."""

    q: Tensor
    k: Tensor
    scale: Tensor
    items: Tensor  # which rows of the batch these are

    @property
    def tau(self) -> Tensor:
        """The temperature, learnable."""
        return 1 / self.scale

    @property
    def both(self) -> Tensor:
        """Two views, one after the other."""
        return torch.cat([self.q, self.k])

    @property
    def labels(self) -> Tensor:
        """Of SupCon, for one view."""
        return self.items // ITEMS_PER_LABEL

    @property
    def ids(self) -> Tensor:
        """Some items come twice, on different ranks."""
        return self.items % 48

    def earlier(self) -> tuple[Tensor, Tensor]:
        """Keys of an earlier batch and their ids, some of them those of this batch."""
        random = torch.Generator().manual_seed(3)
        keys = torch.randn(ROWS, WIDTH, generator=random, dtype=torch.float64)
        return functional.normalize(keys)[self.items], self.items + 24


Loss = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Entry:
    """A loss of a library, in one of its modes."""

    form: str
    library: str
    mode: str
    loss: Loss
    learns: bool  # it takes a learnable temperature

    @property
    def uneven(self) -> bool:
        """It is run on shards of unequal size too."""
        return self.library == "nearfar"


def plain(form: str, b: Batch) -> Tensor:
    """The formula in plain PyTorch, on the whole batch."""
    if form not in ("symmetric, ids", "one-way, ids, bank"):
        (loss,) = field(form, b.tau, ["PyTorch"])[0].values()
        return loss(*given(form, b.q, b.k))
    target = torch.arange(len(b.items))
    same = (b.ids[:, None] == b.ids).fill_diagonal_(False)
    logits = (b.q @ b.k.T * b.scale).masked_fill(same, -torch.inf)
    if form == "symmetric, ids":
        ways = (functional.cross_entropy(way, target) for way in (logits, logits.T))
        return sum(ways) / 2
    bank, ids = (part[-BANK:] for part in b.earlier())
    more = (b.q @ bank.T * b.scale).masked_fill(b.ids[:, None] == ids, -torch.inf)
    return functional.cross_entropy(torch.cat([logits, more], 1), target)


def modes(
    form: str,
    library: str,
    kind: Callable[..., Any],
    call: Callable[[Any, Batch], Tensor],
    *,
    name: str,
    learns: bool = False,
    **words: tuple[object, ...],
) -> Iterator[Entry]:
    """A loss with every combination of these words."""
    default = kind()
    for values in product(*words.values()):
        chosen = dict(zip(words, values, strict=True))
        usual = all(getattr(default, word) == value for word, value in chosen.items())
        text = ", ".join([name, *(f"{word}={value!r}" for word, value in chosen.items())])
        mode = text + " (default)" * usual
        yield Entry(form, library, mode, partial(call, kind(**chosen)), learns)


def nearfar() -> Iterator[Entry]:
    """This library."""
    from nearfar import ClipLoss, InfoNCE, MemoryBank, NTXentLoss, SigLipLoss, SupConLoss

    def bank(g: str, b: Batch) -> Tensor:
        queue = MemoryBank(BANK, WIDTH, group=g).double()
        queue.enqueue(*b.earlier())
        loss = InfoNCE(b.tau, in_batch=True, group=g)
        return loss(b.q, b.k, queue.keys, ids=b.ids, negative_ids=queue.ids)

    forms: dict[str, Callable[[str, Batch], Tensor]] = {
        "one-way": lambda g, b: InfoNCE(b.tau, group=g)(b.q, b.k),
        "one-way, ids, bank": bank,
        "symmetric": lambda g, b: ClipLoss(group=g)(b.q, b.k, b.scale),
        "symmetric, ids": lambda g, b: ClipLoss(group=g)(b.q, b.k, b.scale, ids=b.ids),
        "NT-Xent": lambda g, b: NTXentLoss(b.tau, group=g)(b.q, b.k),
        "SupCon": lambda g, b: SupConLoss(b.tau, group=g)(b.both, b.labels.repeat(2)),
        "SigLIP": lambda g, b: SigLipLoss(group=g)(b.q, b.k, b.scale, BIAS),
    }
    for form, loss in forms.items():
        for group, usual in (("auto", " (default)"), ("ring", "")):
            yield Entry(form, "nearfar", f"group={group!r}{usual}", partial(loss, group), True)


def open_clip() -> Iterator[Entry]:
    """Told its rank."""
    torchvision()
    from open_clip.loss import ClipLoss, SigLipLoss

    here = {"rank": dist.get_rank(), "world_size": dist.get_world_size()}
    yield from modes(
        "symmetric",
        "open_clip",
        partial(ClipLoss, **here),
        lambda loss, b: loss(b.q, b.k, b.scale),
        name="ClipLoss",
        learns=True,
        local_loss=(False, True),
        gather_with_grad=(False, True),
    )
    yield from modes(
        "SigLIP",
        "open_clip",
        partial(SigLipLoss, **here),
        lambda loss, b: loss(b.q, b.k, b.scale, BIAS),
        name="SigLipLoss",
        learns=True,
        dist_impl=("bidir", "shift", "reduce", "gather"),
    )


def lightly() -> Iterator[Entry]:
    """Its temperature is a number."""
    torchvision()
    from lightly.loss import NTXentLoss

    yield from modes(
        "NT-Xent",
        "lightly",
        partial(NTXentLoss, TAU),
        lambda loss, b: loss(b.q, b.k),
        name="NTXentLoss",
        gather_distributed=(False, True),
    )


def pytorch_metric_learning() -> Iterator[Entry]:
    """Two losses in its wrapper; their temperature is a number."""
    from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
    from pytorch_metric_learning.utils.distributed import DistributedLossWrapper

    def views(loss: Any, b: Batch) -> Tensor:
        return loss(b.both, b.items.repeat(2))

    def labelled(loss: Any, b: Batch) -> Tensor:
        return loss(b.both, b.labels.repeat(2))

    for form, kind, call in (("NT-Xent", NTXentLoss, views), ("SupCon", SupConLoss, labelled)):
        yield from modes(
            form,
            "pytorch-metric-learning",
            partial(DistributedLossWrapper, kind(TAU)),
            call,
            name=f"DistributedLossWrapper({kind.__name__})",
            efficient=(False, True),
        )


def ranking() -> Iterator[Entry]:
    """Of sentence-transformers, on embeddings; its scale is a number."""
    name = "MultipleNegativesRankingLoss"
    for form, words in (("one-way", {}), ("symmetric", BOTH_WAYS)):
        yield from modes(
            form,
            "sentence-transformers",
            partial(sentence_transformers, name, TAU, **words),
            lambda loss, b: loss.compute_loss_from_embeddings([b.q, b.k], None),
            name=name,
            gather_across_devices=(False, True),
        )


# By package.
LIBRARIES: dict[str, Callable[[], Iterator[Entry]]] = {
    "nearfar": nearfar,
    "open_clip_torch": open_clip,
    "lightly": lightly,
    "pytorch-metric-learning": pytorch_metric_learning,
    "sentence-transformers": ranking,
}


def everyone() -> tuple[list[Entry], dict[str, str]]:
    """All entries of the libraries that are here, and why the others are not."""
    entries: list[Entry] = []
    absent: dict[str, str] = {}
    for package, library in LIBRARIES.items():
        try:
            entries += library()
        except ImportError as error:
            absent[package] = str(error)
    return entries, absent
