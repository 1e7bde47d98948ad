"""What holds for every batch: laws of the formula, on shapes and options drawn at random."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from forms import FORMS, MORE, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from nearfar import ClipLoss, NTXentLoss, SigLipLoss, SupConLoss, info_nce
from nearfar.loss.push import Crowd, Game, _blocks, _stripes, _sums, push

EVERY = FORMS | MORE
seeds = st.integers(0, 2**20)
batches = st.integers(2, 9)
few = settings(max_examples=15, deadline=None)


def close(a: Any, b: Any, tolerance: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def shuffled(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


@few
@given(n=batches, seed=seeds, scale=st.floats(0.01, 100))
def test_order_and_length_are_no_matter(n: int, seed: int, scale: float) -> None:
    q, k, order = rows(n, 5, seed), rows(n, 5, seed + 1), shuffled(n, seed)
    loss = info_nce(q, k, reduction="none")
    close(info_nce(q[order], k[order], reduction="none"), loss[order])
    close(info_nce(scale * q, k / scale, reduction="none"), loss)
    assert bool((loss >= 0).all())
    views = NTXentLoss(0.3, reduction="none")
    close(views(q[order], k[order]), views(q, k)[torch.cat([order, order + n])])
    labels = torch.arange(n) // 2
    for form in ("out", "in"):
        of = SupConLoss(0.3, form=form)  # type: ignore[arg-type]
        if n > 2:
            close(of(q[order], labels[order]), of(scale * q, labels))
    sigmoid = SigLipLoss()
    close(sigmoid(q[order], k[order], 3.0, -1.0), sigmoid(q, k, 3.0, -1.0))


@few
@given(n=batches, seed=seeds, other=st.integers(3, 9))
def test_one_row_more_is_one_candidate_more(n: int, seed: int, other: int) -> None:
    """A shared negative is a key of the batch that nobody asks for."""
    q, k, more = rows(n, 4, seed), rows(n, 4, seed + 1), rows(other, 4, seed + 2)
    queries, keys = torch.cat([q, rows(other, 4, seed + 3)]), torch.cat([k, more])
    inside = info_nce(queries, keys, reduction="none")[:n]
    close(info_nce(q, k, more, reduction="none", in_batch=True), inside)


SIDES = "HEIGHT", "WIDTH", "LOWEST", "ALONE"


@st.composite
def games(draw: st.DrawFn) -> tuple[Game, dict[str, int]]:
    """A game with any crowd, and sizes of tiles."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    triangle = draw(st.booleans())
    m = n if triangle else m
    generator = torch.Generator().manual_seed(draw(seeds))
    crowd: dict[str, Any] = {}
    ids = draw(st.sampled_from(["none", "equal", "only equal"]))
    if ids != "none":
        crowd["row_id"] = torch.randint(0, 5, (n,), generator=generator).sort()[0]
        crowd["column_id"] = torch.randint(0, 5, (m,), generator=generator).sort()[0]
        crowd["only_equal"] = ids == "only equal"
        if triangle:
            crowd["column_id"] = crowd["row_id"]
    if not triangle and draw(st.booleans()):
        crowd["mask"] = torch.rand(n, m, generator=generator) < 0.7
    if not triangle and draw(st.booleans()):
        crowd["bias"] = torch.randn(n, m, generator=generator, dtype=torch.float64)
        crowd["bias"][0, 0] = -torch.inf
    both = not triangle and draw(st.booleans())
    if not both and not triangle and draw(st.booleans()):
        crowd["ceiling"] = torch.randn(n, generator=generator, dtype=torch.float64)
    game = Game(
        query=rows(n, 3, draw(seeds)).requires_grad_(),
        key=None if triangle else rows(m, 3, draw(seeds)).requires_grad_(),
        scale=torch.tensor(10.0 ** draw(st.integers(-1, 3)), dtype=torch.float64).requires_grad_(),
        crowd=Crowd(**crowd),
        both=both,
    )
    tiles = {name: draw(st.integers(1, 6)) for name in SIDES}
    return game, tiles | {"KEEP": draw(st.sampled_from([0, 2**30]))}


def pushed(game: Game, backend: Any) -> list[Tensor]:
    """Logsumexps, and the gradients of a weighted sum of those that are not empty."""
    logs = [log for log in push(game, backend) if log is not None]
    weighted = [log.masked_fill(log == -torch.inf, 0.0).cos().sum() for log in logs]
    leaves = [x for x in (game.query, game.key, game.scale) if x is not None]
    grads = torch.autograd.grad(sum(weighted), leaves, allow_unused=True, materialize_grads=True)  # type: ignore[arg-type]
    return [*logs, *grads]


@settings(max_examples=80, deadline=None)
@given(drawn=games())
def test_tiles_are_the_stored_matrix(drawn: tuple[Game, dict[str, int]]) -> None:
    game, sizes = drawn
    stored = pushed(game, "dense")
    with pytest.MonkeyPatch.context() as patch:
        for name, size in sizes.items():
            patch.setattr(_sums if name == "KEEP" else _blocks, name, size)
        tiled = pushed(game, "tiled")
    for got, wanted in zip(tiled, stored, strict=True):
        size = wanted[wanted.isfinite()].abs().max().clamp_min(1) if wanted.isfinite().any() else 1
        close(got / size, wanted / size, 1e-10)


@few
@given(n=batches, dim=st.integers(2, 6), seed=seeds, name=st.sampled_from(sorted(EVERY)))
def test_all_backends_agree(n: int, dim: int, seed: int, name: str) -> None:
    n = max(n, 4)  # two ids, a key beside its double
    inputs = [rows(n, dim, seed), rows(n, dim, seed + 1), torch.tensor(0.3, dtype=torch.float64)]
    found = []
    for backend in ("dense", "auto", "tiled"):
        leaves = [x.clone().requires_grad_() for x in inputs]
        with pytest.MonkeyPatch.context() as patch:
            if backend == "tiled":
                patch.setattr(_sums, "KEEP", 0)
                patch.setattr(_stripes, "STRIPE", 8 * 3 * n)
            loss = EVERY[name](*leaves, backend=backend)
            found.append([loss, *torch.autograd.grad(loss, leaves)])
    for other in found[1:]:
        close(other, found[0], 1e-10)


@few
@given(n=batches, m=st.integers(2, 12), seed=seeds, cuts=st.sets(st.integers(1, 11), max_size=3))
def test_a_crowd_may_be_split(n: int, m: int, seed: int, cuts: set[int]) -> None:
    q, k = rows(n, 4, seed), rows(m, 4, seed + 1)
    scale, ids = torch.tensor(3.0, dtype=torch.float64), torch.arange(n) // 2
    crowd = Crowd(row_id=ids, column_id=torch.arange(m) // 3)
    whole = Game(query=q, key=k, scale=scale, crowd=crowd)
    edges = [0, *sorted(cut for cut in cuts if cut < m), m]
    for backend in ("dense", "tiled"):
        parts = []
        for first, last in pairwise(edges):
            at = slice(first, last)
            part = Game(query=q, key=k[at], scale=scale, crowd=crowd.columns(at))
            parts.append(push(part, backend)[0])  # type: ignore[arg-type]
        close(torch.stack(parts).logsumexp(0), push(whole, backend)[0])  # type: ignore[arg-type]


@few
@given(n=batches, seed=seeds)
def test_what_all_keys_share_tells_nothing(n: int, seed: int) -> None:
    """A query's weights sum to zero: what is added to every key changes no loss."""
    q, k, more = rows(n, 4, seed), rows(n, 4, seed + 1), rows(3, 4, seed + 2)
    shift = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    for backend in ("auto", "tiled", "dense"):
        as_given: dict[str, Any] = {"temperature": 0.5, "normalize": False, "backend": backend}
        for negatives in (None, more):
            moved = None if negatives is None else negatives + shift
            loss = info_nce(q, k + shift, moved, in_batch=True, **as_given)
            (grad,) = torch.autograd.grad(loss, shift)
            close(grad, torch.zeros_like(grad))
            away = None if negatives is None else negatives + 1
            close(info_nce(q, k + 1, away, in_batch=True, **as_given), loss.detach())


@few
@given(n=batches, seed=seeds)
def test_forms_that_are_others(n: int, seed: int) -> None:
    q, k, t = rows(n, 4, seed), rows(n, 4, seed + 1), 0.3
    there, back = info_nce(q, k, temperature=t), info_nce(k, q, temperature=t)
    close(info_nce(q, k, temperature=t, symmetric=True), (there + back) / 2)
    unit = normalize(q), normalize(k)
    close(ClipLoss()(*unit, 1 / t), (there + back) / 2)
    close(info_nce(*unit, temperature=t, normalize=False), there)
    both, items = torch.cat([q, k]), torch.arange(n).repeat(2)
    views = NTXentLoss(t)(q, k)
    close(SupConLoss(t)(both, items), views)
    close(SupConLoss(t, form="in")(both, items), views)
    three = torch.cat([both, q + k])
    close(SupConLoss(t)(three, torch.arange(n).repeat(3)), NTXentLoss(t)(q, k, q + k))
    # A batch against itself asks as one way does, with each row left out of its own crowd.
    alone = torch.eye(2 * n, dtype=torch.bool)
    partner = torch.cat([k, q])
    masked = info_nce(
        both, partner, both, t, mask=alone, in_batch=True, ids=items, negative_ids=items
    )
    close(masked, views)
    # Its own negatives are the shared ones, if they are the same.
    more = rows(5, 4, seed + 2)
    each = more.expand(n, -1, -1)
    close(info_nce(q, k, each, t, negative_mode="paired"), info_nce(q, k, more, t))


@few
@given(n=batches, seed=seeds)
def test_options_that_say_nothing(n: int, seed: int) -> None:
    q, k, more = rows(n, 4, seed), rows(n, 4, seed + 1), rows(3, 4, seed + 2)
    ids = shuffled(n, seed)
    nothing: dict[str, Any] = {
        "ids": ids,
        "mask": torch.ones(n, n, dtype=torch.bool),
        "bias": torch.full((n, n), 0.7),
        "weight": torch.eye(n),
        "similarity_margin": 2.1,
        "margin": 0.0,
        "hardness": 1e-12,
        "tau_plus": 1e-12,
    }
    for symmetric in (False, True):
        plain = info_nce(q, k, reduction="none", symmetric=symmetric)
        for name, value in nothing.items():
            given: dict[str, Any] = {name: value, "reduction": "none", "symmetric": symmetric}
            close(info_nce(q, k, **given), plain, 1e-6 if name == "bias" else 1e-9)
    negative_ids = torch.arange(3) + n
    with_ids = info_nce(q, k, more, in_batch=True, ids=ids, negative_ids=negative_ids)
    close(with_ids, info_nce(q, k, more, in_batch=True))
    close(NTXentLoss()(q, k, ids=ids), NTXentLoss()(q, k))
    close(SigLipLoss()(q, k, 2.0, ids=ids), SigLipLoss()(q, k, 2.0))


@few
@given(n=batches, seed=seeds, margin=st.floats(0, 1))
def test_margin_and_decoupled_against_their_formulas(n: int, seed: int, margin: float) -> None:
    q, k, t = normalize(rows(n, 4, seed)), normalize(rows(n, 4, seed + 1)), 0.3
    scores = q @ k.T / t
    own = scores.diagonal()
    strangers = scores.masked_fill(torch.eye(n, dtype=torch.bool), -torch.inf).logsumexp(1)
    at: dict[str, Any] = {"temperature": t, "reduction": "none"}
    close(info_nce(q, k, decoupled=True, **at), strangers - own)
    wanted = torch.logaddexp(strangers, own - margin / t) - (own - margin / t)
    close(info_nce(q, k, margin=margin, **at), wanted)
    wanted = strangers - (own - margin / t)
    close(info_nce(q, k, margin=margin, decoupled=True, **at), wanted)


@few
@given(n=batches, seed=seeds, scale=st.floats(0.1, 50), bias=st.floats(-20, 20))
def test_sigmoid_against_its_formula(n: int, seed: int, scale: float, bias: float) -> None:
    q, k = rows(n, 4, seed), rows(n, 4, seed + 1)
    ids = torch.arange(n) // 2
    sign = 2 * torch.eye(n, dtype=torch.float64) - 1
    each = -logsigmoid(sign * (q @ k.T * scale + bias))
    stranger = (ids[:, None] != ids) | (sign > 0)
    for backend in ("auto", "tiled", "dense"):
        loss = SigLipLoss(backend=backend)
        close(loss(q, k, scale, bias), each.sum() / n)
        if n > 2:
            close(loss(q, k, scale, bias, ids=ids), each[stranger].sum() / n)


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@few
@given(n=batches, seed=seeds, decoupled=st.booleans(), symmetric=st.booleans())
def test_sparse_weights_are_stored_weights(
    n: int, seed: int, decoupled: bool, symmetric: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    q, k = rows(n, 4, seed), rows(n, 4, seed + 1)
    weight = torch.rand(n, n, generator=generator) * (torch.rand(n, n, generator=generator) < 0.3)
    weight += torch.eye(n)
    weight[0, 1:] = weight[1:, 0] = 0  # always somebody to be told from
    ids = torch.randint(0, n, (n,), generator=generator)
    ids[0] = n
    given: dict[str, Any] = {"symmetric": symmetric, "decoupled": decoupled}
    for names in (None, ids):
        stored = info_nce(q, k, weight=weight, ids=names, **given)
        for sparse in (weight.to_sparse(), weight.to_sparse_csr()):
            close(info_nce(q, k, weight=sparse, ids=names, **given), stored)
