"""The memory bank is a queue: what a plain list of the newest keys would hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spawn import on_ranks
from torch import Tensor
from torch.nn import functional

from nearfar import MemoryBank, NearfarError, info_nce

LOWEST = torch.iinfo(torch.int64).min


def rows(n: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * 5


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(1, 7),
    batches=st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=6),
)
def test_it_holds_the_newest(size: int, batches: list[tuple[int, bool]]) -> None:
    bank, newest, names = MemoryBank(size, 3), rows(0), torch.zeros(0, dtype=torch.int64)
    for number, (count, named) in enumerate(batches):
        keys = rows(count, seed=number)
        ids = torch.arange(count, dtype=torch.int32) + 100 * number
        bank.enqueue(keys, ids if named else None)
        newest = torch.cat([newest, functional.normalize(keys, dim=1)])[-size:]
        names = torch.cat([names, ids.long() if named else torch.full((count,), LOWEST)])[-size:]
    assert bank.keys.shape == newest.shape
    order = ((bank.keys @ newest.T).argmax(1)) if len(newest) else torch.zeros(0, dtype=torch.int64)
    torch.testing.assert_close(bank.keys, newest[order])
    own = bank.ids.where(bank.ids >= LOWEST + size, LOWEST)
    assert torch.equal(own, names[order])
    assert len(bank.ids.unique()) == len(bank.ids)
    assert bank.ids.dtype == torch.int64


def test_its_negatives_are_those_of_the_formula() -> None:
    bank, q, k = MemoryBank(8, 3), rows(4), rows(4, seed=1)
    earlier = rows(5, seed=2)
    bank.enqueue(earlier, torch.tensor([0, 9, 9, 1, 9]))
    ids = torch.arange(4)
    got = info_nce(q, k, bank.keys, in_batch=True, ids=ids, negative_ids=bank.ids)
    q, k, earlier = (functional.normalize(x, dim=1) for x in (q, k, earlier))
    scores = torch.cat([q @ k.T, q @ earlier.T], 1) / 0.1
    scores[0, 4] = scores[1, 7] = -torch.inf  # the same item, from an earlier batch
    torch.testing.assert_close(got, functional.cross_entropy(scores, ids))


def test_an_empty_bank_changes_nothing() -> None:
    q, k, bank = rows(4), rows(4, seed=1), MemoryBank(8, 3)
    got = info_nce(q, k, bank.keys, in_batch=True, ids=torch.arange(4), negative_ids=bank.ids)
    torch.testing.assert_close(got, info_nce(q, k))


def test_keys_bring_no_gradient() -> None:
    bank, keys = MemoryBank(4, 3), rows(3).requires_grad_()
    bank.enqueue(keys)
    assert not bank.keys.requires_grad
    info_nce(rows(3, seed=1).requires_grad_(), rows(3), bank.keys).backward()
    assert keys.grad is None


def test_the_state_goes_on_where_it_was() -> None:
    bank, other = MemoryBank(5, 3), MemoryBank(5, 3)
    bank.enqueue(rows(3), torch.arange(3))
    other.load_state_dict(bank.state_dict())
    assert other.filled == 3
    for one in (bank, other):
        one.enqueue(rows(4, seed=1))
    assert torch.equal(bank.keys, other.keys)
    assert torch.equal(bank.ids, other.ids)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_number_formats(dtype: torch.dtype) -> None:
    bank = MemoryBank(4, 3).to(dtype)
    bank.enqueue(rows(6).to(dtype))
    assert bank.keys.dtype == dtype
    assert bank.ids.dtype == torch.int64
    length = bank.keys.double().norm(dim=1)
    torch.testing.assert_close(length, torch.ones_like(length), rtol=0.01, atol=0)


@pytest.mark.parametrize(
    ("keys", "ids", "said"),
    [
        (rows(2, 4), None, r"keys has shape \(2, 4\); wanted \(n, 3\)"),
        (rows(2)[0], None, r"keys has shape \(3,\)"),
        (rows(2) / 0, None, "keys has a NaN or an infinity in row 0"),
        (rows(2), torch.arange(3), r"ids has shape \(3,\).*wanted \(2,\)"),
        (rows(2), torch.tensor([0, LOWEST + 3]), "ids has -.* in row 1; wanted -.* or more"),
        (rows(2, 3).to("meta"), None, "keys is on meta but the bank is on cpu"),
    ],
)
def test_mistakes_are_explained(keys: Tensor, ids: Tensor | None, said: str) -> None:
    bank = MemoryBank(4, 3)
    with pytest.raises(NearfarError, match=said):
        bank.enqueue(keys, ids)
    assert bank.filled == 0


def test_sizes_are_positive() -> None:
    with pytest.raises(NearfarError, match="size=0: wanted 1 or more"):
        MemoryBank(0, 3)
    with pytest.raises(NearfarError, match="dim=-1"):
        MemoryBank(3, -1)


def enqueue_shards(rank: int) -> tuple[Tensor, Tensor]:
    bank, own = MemoryBank(9, 3), slice(0, 4) if rank == 0 else slice(4, 6)
    for seed in range(2):
        bank.enqueue(rows(6, seed=seed)[own], torch.arange(6)[own])
        bank.enqueue(rows(6, seed=seed)[own])
    return bank.keys, bank.ids


def test_all_ranks_hold_the_bank_of_one_process(tmp_path: Path) -> None:
    alone = MemoryBank(9, 3)
    for seed in range(2):
        alone.enqueue(rows(6, seed=seed), torch.arange(6))
        alone.enqueue(rows(6, seed=seed))
    for keys, ids in on_ranks(enqueue_shards, 2, tmp_path):
        assert torch.equal(keys, alone.keys)
        assert torch.equal(ids, alone.ids)
