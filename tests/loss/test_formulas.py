"""Every form against its formula, written out as double loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import nearfar
from nearfar import ClipLoss, InfoNCE, NTXentLoss, SupConLoss, info_nce

N, D, TAU = 5, 3, 0.3


def rows(n: int = N, d: int = D, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(a: Tensor, b: Tensor) -> float:
    return float((normalize(a, dim=0) * normalize(b, dim=0)).sum())


def push(scores: list[float]) -> float:
    return math.log(sum(math.exp(s) for s in scores))


def by_hand(q: Tensor, k: Tensor, i: int, crowd: list[int]) -> float:
    scores = [dot(q[i], k[j]) / TAU for j in range(len(k))]
    return push([scores[j] for j in crowd]) - scores[i]


def test_one_way_in_batch() -> None:
    q, k = rows(), rows(seed=1)
    wanted = [by_hand(q, k, i, list(range(N))) for i in range(N)]
    got = info_nce(q, k, temperature=TAU, reduction="none")
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))
    assert info_nce(q, k, temperature=TAU).item() == pytest.approx(sum(wanted) / N)
    assert info_nce(q, k, temperature=TAU, reduction="sum").item() == pytest.approx(sum(wanted))


def test_symmetric_is_the_mean_of_both_directions() -> None:
    q, k = rows(), rows(seed=1)
    both = (info_nce(q, k, temperature=TAU) + info_nce(k, q, temperature=TAU)) / 2
    torch.testing.assert_close(info_nce(q, k, temperature=TAU, symmetric=True), both)


@pytest.mark.parametrize("in_batch", [None, True, False])
def test_shared_negatives(in_batch: bool | None) -> None:
    q, k, extra = rows(), rows(seed=1), rows(4, seed=2)
    wanted = []
    for i in range(N):
        crowd = [dot(q[i], e) / TAU for e in extra] + [dot(q[i], k[i]) / TAU]
        if in_batch:
            crowd += [dot(q[i], k[j]) / TAU for j in range(N) if j != i]
        wanted.append(push(crowd) - dot(q[i], k[i]) / TAU)
    got = info_nce(q, k, extra, TAU, "none", in_batch=in_batch)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_negatives_of_each_query() -> None:
    q, k = rows(), rows(seed=1)
    extra = rows(N * 4, seed=2).view(N, 4, D)
    wanted = [
        push([dot(q[i], e) / TAU for e in [*extra[i], k[i]]]) - dot(q[i], k[i]) / TAU
        for i in range(N)
    ]
    got = InfoNCE(TAU, "none", "paired")(q, k, extra)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_equal_ids_are_never_negatives() -> None:
    q, k, ids = rows(), rows(seed=1), torch.tensor([7, 8, 7, 9, 8])
    wanted = [
        by_hand(q, k, i, [j for j in range(N) if j == i or ids[i] != ids[j]]) for i in range(N)
    ]
    got = info_nce(q, k, temperature=TAU, reduction="none", ids=ids)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_mask_and_bias() -> None:
    q, k = rows(), rows(seed=1)
    mask = torch.ones(N, N, dtype=torch.bool)
    mask[0, 1] = mask[3, 3] = False  # the positive stays, whatever the mask says
    wanted = [by_hand(q, k, i, [j for j in range(N) if (i, j) != (0, 1)]) for i in range(N)]
    got = info_nce(q, k, temperature=TAU, reduction="none", mask=mask)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))
    bias = torch.zeros(N, N, dtype=torch.float64)
    bias[0, 1] = -torch.inf
    torch.testing.assert_close(info_nce(q, k, temperature=TAU, reduction="none", bias=bias), got)


def test_soft_weights() -> None:
    q, k = rows(), rows(seed=1)
    weight = rows(N, N, seed=3).abs()
    wanted = []
    for i in range(N):
        s = [dot(q[i], k[j]) / TAU for j in range(N)]
        w = weight[i] / weight[i].sum()
        wanted.append(push(s) - sum(float(w[j]) * s[j] for j in range(N)))
    got = info_nce(q, k, temperature=TAU, reduction="none", weight=weight)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_decoupled_leaves_the_positive_out() -> None:
    q, k = rows(), rows(seed=1)
    wanted = [by_hand(q, k, i, [j for j in range(N) if j != i]) for i in range(N)]
    got = info_nce(q, k, temperature=TAU, reduction="none", decoupled=True)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


# Four views: thirds, which float32 weights would round.
@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("decoupled", [False, True])
def test_nt_xent(views: int, decoupled: bool) -> None:
    z = [rows(seed=seed) for seed in range(views)]
    every = torch.cat(z)
    wanted = []
    for a in range(views * N):
        partners = [b for b in range(views * N) if b != a and b % N == a % N]
        others = [b for b in range(views * N) if b % N != a % N]
        crowd = others if decoupled else others + partners
        up = push([dot(every[a], every[b]) / TAU for b in crowd])
        wanted.append(up - sum(dot(every[a], every[b]) / TAU for b in partners) / len(partners))
    got = NTXentLoss(TAU, decoupled=decoupled, reduction="none")(*z)
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("form", ["out", "in"])
def test_sup_con(form: str) -> None:
    z, labels = rows(6), torch.tensor([0, 1, 0, 1, 0, 2])  # the last anchor has no positive
    wanted = []
    for i in range(5):
        s = [dot(z[i], z[j]) / TAU for j in range(6)]
        crowd = push([s[j] for j in range(6) if j != i])
        good = [s[j] for j in range(6) if j != i and labels[i] == labels[j]]
        if form == "out":
            wanted.append(crowd - sum(good) / len(good))
        else:
            wanted.append(crowd - push(good) + math.log(len(good)))
    got = SupConLoss(TAU, form=form)(z, labels)  # type: ignore[arg-type]
    assert got.item() == pytest.approx(sum(wanted) / 5)


def test_clip_takes_features_as_given() -> None:
    q, k = rows(), rows(seed=1)
    s = (q @ k.T * 2.5).numpy()
    there = [push(list(s[i])) - s[i, i] for i in range(N)]
    back = [push(list(s[:, i])) - s[i, i] for i in range(N)]
    got = ClipLoss()(q, k, logit_scale=torch.tensor(2.5, dtype=torch.float64))
    assert got.item() == pytest.approx(sum(there + back) / (2 * N))


def test_public_names_are_the_rooms_names() -> None:
    assert {"info_nce", "load", "Temperature"} <= set(dir(nearfar))
    with pytest.raises(AttributeError, match="no attribute 'infonce'"):
        _ = nearfar.infonce
