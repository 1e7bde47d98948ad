"""Several ranks: the value and, after DDP's mean, every gradient are those of one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor, nn

from nearfar import (
    ClipLoss,
    InfoNCE,
    NearfarError,
    NTXentLoss,
    SigLipLoss,
    SupConLoss,
    Temperature,
    gather,
)
from nearfar.loss._ranks import Ranks

DIM, ITEMS = 5, 12
SHARDS = {2: ([6, 6], [9, 3]), 4: ([3, 3, 3, 3], [5, 1, 4, 2])}


def rows(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, DIM, generator=generator, dtype=torch.float64)


class Towers(nn.Module):
    """Two encoders and a temperature: all that a training step has gradients for."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Linear(DIM, DIM, dtype=torch.float64)
        self.key = nn.Linear(DIM, DIM, dtype=torch.float64)
        self.temperature = Temperature(0.3, learnable=True).double()
        self.bias = nn.Parameter(torch.tensor(-1.0, dtype=torch.float64))


class Batch:
    """Rows of the batch, and what goes with them; ``shard`` takes one rank's."""

    def __init__(self, at: slice) -> None:
        self.at = at
        self.x, self.y, self.w = (rows(ITEMS, seed)[at] for seed in (1, 2, 3))
        self.ids = (torch.arange(ITEMS) * 7 // 10)[at]
        self.labels = (torch.arange(ITEMS) % 5)[at]
        self.bank = rows(6, 4)
        self.bank_ids = torch.tensor([0, 1, 50, 51, 52, 53])
        weight = rows(ITEMS, 5) @ rows(ITEMS, 6).T
        self.weight = weight.abs().masked_fill(weight < 0.5, 0.0).add(torch.eye(ITEMS))[at]
        self.mask = (rows(ITEMS, 7) @ rows(ITEMS, 8).T > -4)[at]
        self.more = {"query": self.x, "key": self.y}


Form = Callable[[Towers, Batch, object], Tensor]
FORMS: dict[str, Form] = {
    "one way": lambda t, b, g: InfoNCE(t.temperature, group=g)(t.query(b.x), t.key(b.y)),
    "sum": lambda t, b, g: InfoNCE(t.temperature, "sum", group=g)(t.query(b.x), t.key(b.y)),
    "ids": lambda t, b, g: InfoNCE(t.temperature, group=g)(t.query(b.x), t.key(b.y), ids=b.ids),
    "mask": lambda t, b, g: InfoNCE(t.temperature, group=g)(t.query(b.x), t.key(b.y), mask=b.mask),
    "symmetric": lambda t, b, g: InfoNCE(t.temperature, symmetric=True, group=g)(
        t.query(b.x), t.key(b.y)
    ),
    "symmetric, ids": lambda t, b, g: InfoNCE(t.temperature, symmetric=True, group=g)(
        t.query(b.x), t.key(b.y), ids=b.ids
    ),
    "symmetric, decoupled": lambda t, b, g: InfoNCE(
        t.temperature, symmetric=True, decoupled=True, group=g
    )(t.query(b.x), t.key(b.y)),
    "symmetric, ceilings": lambda t, b, g: InfoNCE(
        t.temperature, symmetric=True, similarity_margin=0.2, group=g
    )(t.query(b.x), t.key(b.y)),
    "debiased, hard": lambda t, b, g: InfoNCE(
        t.temperature, symmetric=True, tau_plus=0.05, hardness=0.5, group=g
    )(t.query(b.x), t.key(b.y)),
    "queue": lambda t, b, g: InfoNCE(t.temperature, in_batch=True, group=g)(
        t.query(b.x), t.key(b.y), b.bank, ids=b.ids, negative_ids=b.bank_ids
    ),
    "clip": lambda t, b, g: ClipLoss(group=g)(t.query(b.x), t.key(b.y), 1 / t.temperature()),
    "two views": lambda t, b, g: NTXentLoss(t.temperature, group=g)(t.query(b.x), t.key(b.y)),
    "three views, ids": lambda t, b, g: NTXentLoss(t.temperature, group=g)(
        t.query(b.x), t.key(b.y), t.query(b.w), ids=b.ids
    ),
    "labels, out": lambda t, b, g: SupConLoss(t.temperature, group=g)(t.query(b.x), b.labels),
    "sigmoid": lambda t, b, g: SigLipLoss(group=g)(
        t.query(b.x), t.key(b.y), 1 / t.temperature(), t.bias
    ),
    "sigmoid, ids": lambda t, b, g: SigLipLoss(group=g)(
        t.query(b.x), t.key(b.y), 1 / t.temperature(), t.bias, ids=b.ids
    ),
}
GATHERED_ONLY: dict[str, Form] = {
    "labels, in": lambda t, b, g: SupConLoss(t.temperature, form="in", group=g)(
        t.query(b.x), b.labels
    ),
    "weights": lambda t, b, g: InfoNCE(t.temperature, group=g)(
        t.query(b.x), t.key(b.y), weight=b.weight, ids=b.ids
    ),
    "sparse weights": lambda t, b, g: InfoNCE(t.temperature, group=g)(
        t.query(b.x), t.key(b.y), weight=b.weight.to_sparse(), ids=b.ids
    ),
}


def cases(group: object) -> dict[str, Form]:
    return FORMS if group == "ring" else FORMS | GATHERED_ONLY


def outcome(form: Form, batch: Batch, group: object) -> tuple[Tensor, list[Tensor]]:
    towers = Towers()
    loss = form(towers, batch, group)
    loss.backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in towers.parameters()]
    return loss.detach(), grads


def bent(form: Form, batch: Batch, group: object, size: int) -> Tensor:
    """Second derivatives: the gradient of a penalty on the whole gradient."""
    batch.x = batch.x.detach().requires_grad_()
    loss = form(Towers(), batch, group)
    (grad,) = torch.autograd.grad(loss, batch.x, create_graph=True)
    return torch.autograd.grad((grad / size).square().sum(), batch.x)[0]


def work(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    found = {}
    for number, counts in enumerate(SHARDS[size]):
        first = sum(counts[:rank])
        batch = Batch(slice(first, first + counts[rank]))
        for group in ("auto", "ring"):
            for name, form in cases(group).items():
                loss, grads = outcome(form, batch, group)
                # What DistributedDataParallel does.
                for grad in grads:
                    dist.all_reduce(grad)
                    grad /= size
                found[number, group, name] = (loss, grads)
        for name, form in cases("auto").items():
            found[number, "bent", name] = bent(form, batch, "auto", size)
        x = batch.x.detach().requires_grad_()
        every = gather(x)
        (every * torch.arange(1.0, 1 + every.numel()).view_as(every) * (rank + 1)).sum().backward()
        found[number, "gather"] = (every.detach(), x.grad)
    second = InfoNCE(group="ring")(x, x + 1)
    with pytest.raises(NearfarError, match=r"no second derivatives.*Wanted group='auto'"):
        torch.autograd.grad(second, x, create_graph=True)
    bias = torch.zeros(len(x), ITEMS, requires_grad=True)
    with pytest.raises(NearfarError, match=r"group='ring' has no gradient for a bias"):
        InfoNCE(group="ring")(x, x + 1, bias=bias)
    assert "rank" in repr(InfoNCE()), repr(InfoNCE())
    assert f"({size} ranks)" in repr(InfoNCE())
    assert Ranks(None).alone
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("size", SHARDS)
def test_ranks_equal_one_process(size: int, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(work, (size, str(tmp_path)), nprocs=size)
    whole = Batch(slice(None))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(size)]
    for number, counts in enumerate(SHARDS[size]):
        for group in ("auto", "ring"):
            for name, form in cases(group).items():
                wanted = outcome(form, whole, None)
                for found in ranks:
                    torch.testing.assert_close(
                        found[number, group, name],
                        wanted,
                        rtol=1e-12,
                        atol=1e-13,
                        msg=lambda text, at=(number, group, name): f"{at}: {text}",
                    )
        for name, form in cases("auto").items():
            got = torch.cat([found[number, "bent", name] for found in ranks])
            torch.testing.assert_close(got, bent(form, whole, None, 1), rtol=1e-10, atol=1e-12)
        factor = torch.arange(1.0, 1 + whole.x.numel(), dtype=torch.float64).view_as(whole.x)
        for rank, found in enumerate(ranks):
            every, grad = found[number, "gather"]
            first = sum(counts[:rank])
            torch.testing.assert_close(every, whole.x)
            own = factor[first : first + counts[rank]] * sum(range(1, size + 1))
            torch.testing.assert_close(grad, own)
