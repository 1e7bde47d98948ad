"""Chunks give the gradients of the whole batch: plain, with dropout, in low precision, on ranks."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from spawn import on_ranks
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from nearfar import GradCache, InfoNCE, MomentumEncoder, NearfarError, Temperature, info_nce


def encoder(seed: int = 0, *more: nn.Module) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), *more, nn.Linear(8, 3)).double()


def batch(n: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
    return query, key


def grads(*modules: nn.Module) -> list[Tensor | None]:
    return [p.grad for module in modules for p in module.parameters()]


def same(a: list[Any], b: list[Any], tolerance: float = 1e-12) -> None:
    assert len(a) == len(b)
    assert any(x is not None for x in a)
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("towers", [1, 2])
def test_gradients_are_those_of_the_whole_batch(chunk: int, towers: int) -> None:
    query, key = batch()
    modules = [encoder(tower) for tower in range(towers)]
    loss = InfoNCE(Temperature(0.2, learnable=True).double(), symmetric=True)
    plain = deepcopy([*modules, loss])
    wanted = plain[-1](plain[0](query), plain[-2](key), ids=torch.arange(7) % 5)
    wanted.backward()
    got = GradCache(modules[0], loss, chunk, modules[-1])(query, key, ids=torch.arange(7) % 5)
    assert not got.requires_grad
    torch.testing.assert_close(got, wanted.detach(), rtol=1e-12, atol=1e-12)
    same(grads(*modules, loss), grads(*plain))


def test_gradients_add_up_and_any_function_is_a_loss() -> None:
    (query, key), temperature = batch(), Temperature(0.2, learnable=True)
    module = encoder()

    def loss(q: Tensor, k: Tensor) -> Tensor:
        return info_nce(q, k, temperature=temperature())

    for _ in range(2):
        GradCache(module, loss, 2)(query, key)
    found = grads(module, temperature)
    module.zero_grad()
    temperature.zero_grad()
    (2 * loss(module(query), module(key))).backward()
    same(found, grads(module, temperature))


class Graph:
    """An input that cannot be cut."""

    def __len__(self) -> int:
        return 4


def test_what_cannot_be_cut_is_named() -> None:
    with pytest.raises(NearfarError, match=r"query_input holds .*Graph.*wanted a tensor"):
        GradCache(encoder(), InfoNCE(), 2)(Graph(), Graph())  # type: ignore[arg-type]


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = encoder()

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        out: Tensor = self.body(x) * scale[:, None]
        return out


def test_tuples_and_dicts_are_arguments() -> None:
    (query, key), scale, module = batch(), torch.arange(1.0, 8.0).double(), Named()
    InfoNCE(normalize=False)(module(query, scale), module(key, scale)).backward()
    wanted = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    cache = GradCache(module, InfoNCE(normalize=False), 3)
    cache((query, scale), {"scale": scale, "x": key})
    same(grads(module), wanted)


class Watched(nn.Module):
    """Notes what dropout lets through in each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((x != 0).detach())
        return x


def test_dropout_is_replayed() -> None:
    (query, key), watched = batch(), Watched()
    module = encoder(0, nn.Dropout(0.5), watched)
    GradCache(module, InfoNCE(), 2)(query, key)
    first, second = watched.seen[: len(watched.seen) // 2], watched.seen[len(watched.seen) // 2 :]
    assert len(first) == 8
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(first[0], x) for x in first[1:3])
    # Afterwards randomness goes on from where the first pass left it.
    torch.manual_seed(1)
    GradCache(module, InfoNCE(), 2)(query, key)
    after = torch.rand(3)
    torch.manual_seed(1)
    with torch.no_grad():
        for part in (*query.tensor_split(4), *key.tensor_split(4)):
            module(part)
    assert torch.equal(after, torch.rand(3))


def test_buffers_move_once() -> None:
    query, key = batch()
    module = encoder(0, nn.BatchNorm1d(8))
    plain = deepcopy(module)
    GradCache(module, InfoNCE(), 4)(query, key)
    for part in (*query.tensor_split(2), *key.tensor_split(2)):
        plain(part)
    same(list(module.buffers()), list(plain.buffers()))


def test_buffers_stay_where_an_encoder_fails() -> None:
    query, key = batch()
    module = encoder(0, nn.BatchNorm1d(8))
    before = [buffer.clone() for buffer in module.buffers()]
    calls = []

    def full(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError

    module.register_forward_pre_hook(full)
    with pytest.raises(MemoryError):
        GradCache(module, InfoNCE(), 4)(query, key)
    same(list(module.buffers()), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_a_scaler(dtype: torch.dtype) -> None:
    (query, key), module = (x.float() for x in batch()), encoder().float()
    plain, dtypes = deepcopy(module), []
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)

    def loss(q: Tensor, k: Tensor) -> Tensor:
        dtypes.append(q.dtype)
        return info_nce(q, k, temperature=0.1) * 1e-4

    def backward(x: Tensor) -> None:
        assert not torch.is_autocast_enabled("cpu")
        scaler.scale(x).backward()

    with torch.autocast("cpu", dtype):
        wanted = loss(plain(query), plain(key))
    backward(wanted)
    with torch.autocast("cpu", dtype):
        got = GradCache(module, loss, 2, backward=backward)(query, key)
    assert dtypes == [dtype, dtype if dtype == torch.bfloat16 else torch.float32]
    torch.testing.assert_close(got, wanted.detach())
    for a, b in zip(grads(module), grads(plain), strict=True):
        assert a is not None
        assert b is not None
        assert (a - b).norm() < 0.01 * b.norm()


def test_a_frozen_tower_is_encoded_once() -> None:
    (query, key), module, watched = batch(), encoder(), Watched()
    slow = MomentumEncoder(encoder(0, watched))
    wanted = InfoNCE()(module(query), slow(key))
    wanted.backward()
    found = grads(module)
    module.zero_grad()
    watched = slow.module[2]
    watched.seen.clear()
    GradCache(module, InfoNCE(), 3, slow)(query, key)
    assert len(watched.seen) == 3
    same(grads(module), found)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda q, k: GradCache(encoder(), InfoNCE(), 0), "chunk_size=0: wanted 1 or more"),
        (lambda q, k: GradCache(encoder(), InfoNCE(), 2)((q, k[:3]), k), "query_input holds"),
        (lambda q, k: GradCache(encoder(), InfoNCE(), 2)(q[:0], k), "query_input holds"),
        (lambda q, k: GradCache(encoder(), InfoNCE(), 2)(q, {"x": "y"}), "key_input holds str"),
        (
            lambda q, k: GradCache(encoder(), InfoNCE(reduction="none"), 2)(q, k),
            r"loss returned \(7,\); wanted a scalar",
        ),
        (
            lambda q, k: GradCache(nn.Sequential(encoder(), nn.Flatten(0)), InfoNCE(), 2)(q, k),
            "encoder returned .* for 2 rows",
        ),
        (
            lambda q, k: GradCache(encoder().requires_grad_(False), InfoNCE(), 2)(q, k),
            "nothing that learns",
        ),
    ],
)
def test_mistakes_are_explained(call: Callable[[Tensor, Tensor], object], said: str) -> None:
    with pytest.raises(NearfarError, match=said):
        call(*batch())


class Learner(nn.Module):
    """Two towers and a temperature in one module, as it is often wrapped."""

    def __init__(self) -> None:
        super().__init__()
        self.towers = nn.ModuleDict({"image": encoder(0), "text": encoder(1)})
        self.temperature = Temperature(0.2, learnable=True).double()

    def forward(self, **inputs: Tensor) -> Tensor:
        ((name, x),) = inputs.items()
        out: Tensor = self.towers[name](x)
        return out


SHARDS = ((0, 5), (5, 7))


def step(module: nn.Module, learner: Learner, first: int, last: int, chunk: int | None) -> None:
    query, key = (x[first:last] for x in batch())
    loss = InfoNCE(learner.temperature, symmetric=True)
    if chunk is None:
        loss(module(image=query), module(text=key)).backward()
    else:
        GradCache(module, loss, chunk)({"image": query}, {"text": key})


def one_wrapped_module(rank: int) -> tuple[list[Tensor | None], int]:
    learner, calls = Learner(), 0
    module = DistributedDataParallel(learner)

    def count(state, bucket):  # type: ignore[no-untyped-def]
        nonlocal calls
        calls += bucket.is_last()
        return allreduce_hook(None, bucket)

    module.register_comm_hook(None, count)
    for _ in range(2):
        learner.zero_grad()
        step(module, learner, *SHARDS[rank], chunk=2)
    return grads(learner), calls


def two_wrapped_modules(rank: int) -> list[Tensor | None]:
    loss = InfoNCE(Temperature(0.2, learnable=True).double())
    towers = [encoder(0), nn.ModuleList([encoder(1), loss])]
    towers[1].forward = towers[1][0].forward  # type: ignore[method-assign]
    wrapped = [DistributedDataParallel(tower) for tower in towers]
    query, key = (x[slice(*SHARDS[rank])] for x in batch())
    GradCache(wrapped[0], loss, 2, wrapped[1])(query, key)
    return grads(*towers)


def test_ranks_synchronise_once_and_give_the_gradients_of_one_process(tmp_path: Path) -> None:
    alone = Learner()
    step(alone, alone, 0, 7, None)
    for found, calls in on_ranks(one_wrapped_module, 2, tmp_path):
        assert calls == 2
        same(found, grads(alone))


def test_ranks_with_two_wrapped_modules(tmp_path: Path) -> None:
    query, key = batch()
    loss = InfoNCE(Temperature(0.2, learnable=True).double())
    one, two = encoder(0), encoder(1)
    loss(one(query), two(key)).backward()
    for found in on_ranks(two_wrapped_modules, 2, tmp_path):
        same(found, grads(one, two, loss))
