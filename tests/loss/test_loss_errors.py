"""Bad input names the argument, the row and the mend."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import torch

from nearfar import (
    ClipLoss,
    InfoNCE,
    MemoryBank,
    NearfarError,
    NTXentLoss,
    SigLipLoss,
    SupConLoss,
    checks,
    info_nce,
)

E4 = torch.eye(4)
E44 = E4.expand(4, 4, 4)
NAN = E4.clone()
NAN[2, 1] = torch.nan
# A positive similarity to it is -inf: no exponential shows it.
LOW = E4.clone()
LOW[2] = -torch.inf
ONE = torch.zeros(4, dtype=torch.long)
PAIRS = torch.tensor([0, 0, 1, 1])
LAST = torch.tensor([0, 0, 0, 1])
HALF_EMPTY = torch.tensor([[1.0, 0, 0, 1]] * 4)
MINUS = torch.tensor([[1.0, -1, 0, 0]] + [[1.0, 0, 0, 0]] * 3)
NO_NEGATIVE = "query row 0 has no negative"
LONELY = torch.ones(4, 4, dtype=torch.bool)
LONELY[1] = False
META = torch.device("meta")
INFINITY = float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(E4[0], E4), r"query has shape \(4,\)"),
        (lambda: info_nce(E4.long(), E4), r"query .* torch.int64"),
        (lambda: info_nce(E4, E4[:3]), r"positive_key has shape \(3, 4\) but query has \(4, 4\)"),
        (lambda: info_nce(E4, E4.double()), "positive_key is torch.float64 .* same"),
        (lambda: info_nce(NAN, E4), "query has a NaN or an infinity in row 2"),
        (lambda: info_nce(E4, E4 / 0), "positive_key has a NaN .* row 0"),
        (lambda: info_nce(E4[:1], E4[:1]), "query row 0 has no negative; .*larger batch"),
        (lambda: info_nce(E4[:0], E4[:0]), "query row 0 has no negative"),
        (lambda: info_nce(E4, E4, ids=torch.tensor([1, 1, 1, 1])), "query row 0 has no negative"),
        (lambda: info_nce(E4, E4, ids=torch.zeros(3).long()), r"ids has shape \(3,\)"),
        (lambda: info_nce(E4, E4, mask=torch.ones(3, 4).bool()), r"mask has shape \(3, 4\)"),
        (lambda: info_nce(E4, E4, weight=-E4), "weight row 0 is negative"),
        (lambda: info_nce(E4, E4, reduction="man"), "reduction='man'.*Did you mean 'mean'"),
        (lambda: info_nce(E4, E4, E4, negative_mode="pared"), "Did you mean 'paired'"),
        (lambda: info_nce(E4, E4, E4, negative_mode="paired"), r"wanted \(4, M, 4\)"),
        (lambda: info_nce(E4, E4, E4[:, :2]), r"negative_keys has shape \(4, 2\)"),
        (lambda: info_nce(E4, E4, E4, symmetric=True), "symmetric=True with negative_keys"),
        (lambda: info_nce(E4[:0], E4[:0], E4), "query row 0 has no negative"),
        (lambda: info_nce(E4, E4, mask=torch.ones(4, 4)), "mask has dtype torch.float32.*bool"),
        (lambda: info_nce(E4, E4, mask=torch.ones(4, 4).long()), "mask has dtype torch.int64"),
        (lambda: info_nce(E4, E4, bias=NAN), r"bias has a NaN or \+infinity in row 2"),
        (lambda: info_nce(E4, E4, ids=ONE.to("meta")), "ids is on meta but query is on cpu"),
        (lambda: info_nce(E4, E4, mask=E4.bool().to("meta")), "mask is on meta but query"),
        (lambda: info_nce(E4, E4, weight=HALF_EMPTY, symmetric=True), "weight column 1 is"),
        (lambda: info_nce(E4, E4, temperature=E4[0]), r"temperature has shape \(4,\)"),
        (lambda: info_nce(E4, E4, temperature=float("nan")), "temperature=nan"),
        (lambda: ClipLoss()(E4, E4, 0.0), "logit_scale=0.0: wanted a positive"),
        (lambda: ClipLoss()(E4, E4, -1.0), "logit_scale=-1.0"),
        (lambda: NTXentLoss()(E4[:1], E4[1:2], E4[2:3]), "query row 0 has no negative"),
        (lambda: NTXentLoss()(E4, E4, E4, ids=ONE), "query row 0 has no negative"),
        (lambda: SupConLoss()(E4, ONE), "query row 0 has no negative"),
        (lambda: SupConLoss(form="in")(E4, ONE), "query row 0 has no negative"),
        (lambda: NTXentLoss()(E4, NAN), "z1 has a NaN or an infinity in row 2"),
        (lambda: NTXentLoss()(E4[:1], E4[:1]), "has no negative"),
        (lambda: SupConLoss()(E4, torch.arange(4)), "labels has no two equal entries"),
        (lambda: SupConLoss(form="inn"), "Did you mean 'in'"),  # type: ignore[arg-type]
    ],
)
def test_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(E4, E4, NAN), "negative_keys has a NaN or an infinity in row 2"),
        (lambda: info_nce(E4, E4, E44 / 0, negative_mode="paired"), "negative_keys .* row 0"),
        (lambda: info_nce(E4, LOW, normalize=False), "positive_key has a NaN .* row 2"),
        (lambda: SupConLoss()(NAN, PAIRS), "embeddings has a NaN or an infinity in row 2"),
        (lambda: SupConLoss()(NAN, LAST), "embeddings has a NaN or an infinity in row 2"),
        (lambda: SupConLoss(form="in")(NAN, PAIRS), "embeddings has a NaN .* row 2"),
        (lambda: NTXentLoss()(E4, E4, NAN), "z2 has a NaN or an infinity in row 2"),
        (lambda: ClipLoss()(NAN, E4, 1.0), "image_features has a NaN or an infinity in row 2"),
        (lambda: ClipLoss()(E4, LOW, 1.0), "text_features has a NaN or an infinity in row 2"),
        (lambda: SigLipLoss()(E4, NAN, 1.0), "text_features has a NaN or an infinity in row 2"),
        (lambda: SigLipLoss(backend="tiled")(LOW, E4, 1.0), "image_features has a NaN .* row 2"),
        (lambda: MemoryBank(4, 4).enqueue(NAN), "keys has a NaN or an infinity in row 2"),
    ],
)
def test_a_row_that_is_not_finite(call: Callable[[], object], message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: info_nce(E4, E4, in_batch=False),
        lambda: info_nce(E4, E4, E4[:0]),
        lambda: info_nce(E4, E4, E44[:, :0], negative_mode="paired"),
        lambda: info_nce(E4, E4, MemoryBank(8, 4).keys),
        lambda: info_nce(E4[:1], E4[:1], E4[:0], in_batch=True),
        lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE),
        lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE, in_batch=True),
        lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE, weight=E4),
        lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE, weight=E4, decoupled=True),
        lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE, weight=E4.to_sparse()),
        lambda: info_nce(E4, E4, E4[:0], weight=E4),
        lambda: info_nce(E4, E4, weight=E4, ids=ONE),
        lambda: info_nce(E4, E4, weight=E4.to_sparse(), ids=ONE, symmetric=True),
        lambda: info_nce(E4, E4, weight=E4, ids=ONE, decoupled=True),
        lambda: info_nce(E4, E4, ids=ONE, hardness=0.5),
        lambda: info_nce(E4, E4, mask=~LONELY, tau_plus=0.1),
        lambda: info_nce(E4, E4, ids=ONE, symmetric=True, margin=0.1),
        lambda: info_nce(E4, E4, ids=ONE, decoupled=True),
        lambda: info_nce(E4[:1], E4[:1], weight=E4[:1, :1]),
        lambda: SupConLoss()(E4[:0], ONE[:0]),
        lambda: SupConLoss()(E4[:1], ONE[:1]),
        lambda: NTXentLoss()(E4, E4, ids=ONE),
        lambda: NTXentLoss(backend="tiled")(E4, E4, ids=ONE),
    ],
)
def test_nobody_to_be_told_from(call: Callable[[], object]) -> None:
    with pytest.raises(NearfarError, match=NO_NEGATIVE):
        call()


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
def test_nobody_to_be_told_from_for_one_row(backend: str) -> None:
    for options in ({}, {"hardness": 0.5}, {"decoupled": True}, {"tau_plus": 0.1}):
        with pytest.raises(NearfarError, match="query row 1 has no negative"):
            info_nce(E4, E4, mask=LONELY, backend=backend, **options)  # type: ignore[arg-type]
    for weight in (E4, E4.to_sparse()):
        with pytest.raises(NearfarError, match="query row 1 has no negative"):
            info_nce(E4, E4, mask=LONELY, weight=weight, backend=backend)  # type: ignore[arg-type]
    sigmoid, clip = SigLipLoss(backend=backend), ClipLoss(backend=backend)  # type: ignore[arg-type]
    for size in (0, 1):
        with pytest.raises(NearfarError, match="has no negative"):
            sigmoid(E4[:size], E4[:size], 1.0)
        with pytest.raises(NearfarError, match="image_features row 0 has no negative"):
            clip(E4[:size], E4[:size], 1.0)
    with pytest.raises(NearfarError, match="has no negative"):
        sigmoid(E4, E4, 1.0, ids=ONE)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(E44, E44), r"query has shape \(4, 4, 4\).*Flatten"),
        (lambda: ClipLoss()(E44, E44, 1.0), r"image_features has shape \(4, 4, 4\)"),
        (lambda: ClipLoss()(E4, E4[:3], 1.0), r"text_features has shape .* but image_features has"),
        (lambda: SigLipLoss()(E44, E44, 1.0), r"image_features has shape \(4, 4, 4\)"),
        (lambda: NTXentLoss()(E44, E44), r"z0 has shape \(4, 4, 4\)"),
        (lambda: SupConLoss()(E44, ONE), r"embeddings has shape \(4, 4, 4\)"),
        (lambda: info_nce(E4[:, :0], E4[:, :0]), r"query has shape \(4, 0\)"),
        (lambda: info_nce(E4.cfloat(), E4.cfloat()), "query .* torch.complex64"),
        (lambda: SigLipLoss()(E4.long(), E4, 1.0), "image_features .* torch.int64"),
        (lambda: NTXentLoss()(E4, E4.long()), "z1 .* torch.int64.*floating point"),
        (lambda: SupConLoss()(E4.int(), ONE), "embeddings .* torch.int32"),
        (lambda: info_nce(E4, E4, E4.long()), "negative_keys .* torch.int64.*floating point"),
        (lambda: NTXentLoss()(E4, E4, E4.half()), "z2 is torch.float16 .* z0 is torch.float32"),
        (lambda: SigLipLoss()(E4, E4.double(), 1.0), "text_features is torch.float64"),
        (lambda: info_nce(E4, E4.to(META)), "positive_key is torch.float32 on meta"),
        (lambda: info_nce(E4, E4, E4.to(META)), "negative_keys is on meta but query is on cpu"),
        (lambda: info_nce(E4, E4, bias=E4.to(META)), "bias is on meta but query"),
        (lambda: info_nce(E4, E4, weight=E4.to(META)), "weight is on meta but query"),
        (lambda: SupConLoss()(E4, ONE.to(META)), "labels is on meta but embeddings is on cpu"),
        (lambda: NTXentLoss()(E4, E4, ids=ONE.to(META)), "ids is on meta but z0 is on cpu"),
        (lambda: SigLipLoss()(E4, E4, 1.0, ids=ONE.to(META)), "ids is .* but image_features is"),
        (lambda: ClipLoss()(E4, E4, 1.0, ids=ONE.to(META)), "ids is .* but image_features is"),
        (lambda: info_nce(E4, E4, ids=ONE.float()), "ids has .* torch.float32; wanted .* integers"),
        (lambda: info_nce(E4, E4, ids=ONE.cfloat()), "ids has .* torch.complex64"),
        (lambda: info_nce(E4, E4, ids=ONE[None]), r"ids has shape \(1, 4\)"),
        (lambda: SupConLoss()(E4, ONE.float()), "labels has .* torch.float32"),
        (lambda: SupConLoss()(E4, ONE[:3]), r"labels has shape \(3,\)"),
        (lambda: SigLipLoss()(E4, E4, 1.0, ids=ONE.double()), "ids has .* torch.float64"),
        (
            lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE[:3]),
            r"negative_ids has shape \(3,\).*wanted \(4,\)",
        ),
        (
            lambda: info_nce(E4, E4, E44, negative_mode="paired", ids=ONE, negative_ids=ONE),
            r"negative_ids has shape \(4,\).*wanted \(4, 4\)",
        ),
        (
            lambda: info_nce(E4, E4, E4, ids=ONE, negative_ids=ONE.float()),
            "negative_ids has .* torch.float32",
        ),
        (lambda: info_nce(E4, E4, weight=E4[:3]), r"weight has shape \(3, 4\); wanted \(4, 4\)"),
        (lambda: info_nce(E4, E4, weight=MINUS), "weight row 0 is negative"),
        (lambda: info_nce(E4, E4, weight=MINUS.to_sparse()), "weight row 0 is negative"),
        (lambda: info_nce(E4, E4, weight=NAN), "weight row 2 is .*not finite"),
        (lambda: info_nce(E4, E4, weight=0 * E4), "weight row 0 is .*all zero"),
        (
            lambda: info_nce(E4, E4, weight=HALF_EMPTY.to_sparse(), symmetric=True),
            "weight column 1 is",
        ),
    ],
)
def test_tensors_that_do_not_fit(call: Callable[[], object], message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(E4, E4, backend="tilde"), "backend='tilde'.*Did you mean 'tiled'"),
        (lambda: ClipLoss(backend="densed"), "Did you mean 'dense'"),  # type: ignore[arg-type]
        (lambda: SigLipLoss(products="b16"), "products='b16'.*Did you mean 'bf16'"),  # type: ignore[arg-type]
        (lambda: SupConLoss(group="rings"), "group='rings': wanted 'auto'"),  # type: ignore[arg-type]
        (lambda: info_nce(E4, E4, group="all"), "group='all': wanted 'auto'"),
        (lambda: NTXentLoss(reduction="avg"), "reduction='avg'"),  # type: ignore[arg-type]
        (lambda: InfoNCE(negative_mode="pair"), "Did you mean 'paired'"),  # type: ignore[arg-type]
        (lambda: info_nce(E4, E4, negative_mode="pared"), "Did you mean 'paired'"),
        (lambda: info_nce(E4, E4, hardness=-0.5), "hardness=-0.5: wanted 0 <= hardness"),
        (lambda: info_nce(E4, E4, hardness=INFINITY), "hardness=inf"),
        (lambda: info_nce(E4, E4, tau_plus=1.0), "tau_plus=1.0: wanted 0 <= tau_plus < 1"),
        (lambda: info_nce(E4, E4, tau_plus=-0.1), "tau_plus=-0.1"),
        (lambda: info_nce(E4, E4, margin=INFINITY), "margin=inf"),
        (lambda: info_nce(E4, E4, similarity_margin=torch.nan), "similarity_margin=nan"),
        (lambda: info_nce(E4, E4, temperature=0), "temperature=0: wanted a positive"),
        (lambda: NTXentLoss(INFINITY), "temperature=inf: wanted a positive"),
        (lambda: SupConLoss(torch.ones(2)), r"temperature has shape \(2,\)"),
        (lambda: ClipLoss()(E4, E4, torch.ones(4)), r"logit_scale has shape \(4,\)"),
        (lambda: SigLipLoss()(E4, E4, torch.ones(4)), r"logit_scale has shape \(4,\)"),
        (lambda: SigLipLoss()(E4, E4, 1.0, torch.ones(4)), r"logit_bias has shape \(4,\)"),
        (lambda: SigLipLoss()(E4, E4, 1.0, torch.nan), "logit_bias=nan: wanted a finite"),
        (lambda: SigLipLoss()(E4, E4, 1.0, torch.tensor(torch.inf)), "logit_bias=inf"),
    ],
)
def test_words_and_numbers(call: Callable[[], object], message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        call()


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
@pytest.mark.parametrize("number", [0.0, -0.1, torch.nan, torch.inf])
def test_a_temperature_that_has_gone_astray(number: float, backend: str) -> None:
    """A tensor is looked at with the loss, where a GPU is waited for anyway."""
    tau, engine = torch.tensor(number), {"backend": backend}
    calls: list[Callable[[], object]] = [
        lambda: info_nce(E4, E4, temperature=tau, **engine),  # type: ignore[arg-type]
        lambda: info_nce(E4, E4, E4, temperature=tau, **engine),  # type: ignore[arg-type]
        lambda: info_nce(E4, E4, weight=E4, temperature=tau, **engine),  # type: ignore[arg-type]
        lambda: NTXentLoss(tau, **engine)(E4, E4),  # type: ignore[arg-type]
        lambda: SupConLoss(tau, **engine)(E4, PAIRS),  # type: ignore[arg-type]
        lambda: SupConLoss(tau, form="in", **engine)(E4, PAIRS),  # type: ignore[arg-type]
        lambda: ClipLoss(**engine)(E4, E4, tau),  # type: ignore[arg-type]
        lambda: SigLipLoss(**engine)(E4, E4, tau),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(NearfarError, match=r"temperature=.*logit_scale=.*wanted a positive"):
            call()


SYMMETRIC = {"symmetric": True, "negative_keys": E4}
CONFLICTS: list[tuple[dict[str, object], str]] = [
    (SYMMETRIC, "symmetric=True with negative_keys"),
    ({"symmetric": True, "in_batch": False}, "symmetric=True with negative_keys or in_batch=False"),
    ({"hardness": 0.5, "weight": E4}, "hardness and tau_plus with weight"),
    ({"tau_plus": 0.1, "weight": E4}, "hardness and tau_plus with weight"),
    ({"tau_plus": 0.1, "similarity_margin": 0.1}, "both correct for false negatives"),
    ({"tau_plus": 0.1, "bias": E4}, "hardness and tau_plus with bias"),
    ({"hardness": 0.1, "bias": E4}, "hardness and tau_plus with bias"),
    ({"margin": 0.1, "weight": E4}, "margin with weight is not defined"),
    ({"backend": "dense", "products": "bf16"}, "products='bf16' with backend='dense'"),
    ({"similarity_margin": 0.1, "weight": E4}, "similarity_margin with weight"),
    ({"negative_keys": E4, "negative_ids": ONE}, "negative_ids without .* ids leave nobody out"),
    ({"ids": ONE, "negative_ids": ONE}, "negative_ids without negative_keys"),
]


@pytest.mark.parametrize(("options", "message"), CONFLICTS)
def test_options_that_exclude_each_other(options: dict[str, object], message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        info_nce(E4, E4, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["auto", "tiled", "dense"])
def test_a_margin_does_not_hide_who_never_had_a_negative(backend: Any) -> None:
    ids, far = torch.tensor([0, 0, 0, 1]), E4 * 0.1 + 1
    with pytest.raises(NearfarError, match="query row 0 has no negative"):
        info_nce(E4, E4, ids=ONE, similarity_margin=0.1, backend=backend)
    mask = torch.ones(4, 4, dtype=torch.bool)
    mask[2] = False
    with pytest.raises(NearfarError, match="query row 2 has no negative"):
        info_nce(E4, E4, mask=mask, similarity_margin=0.1, backend=backend)
    # Beaten by everybody's key: whom the margin leaves out, no error is due.
    loss = info_nce(
        far, far.roll(1, 0), ids=ids, similarity_margin=-1.9, reduction="none", backend=backend
    )
    assert loss.eq(0).all()
    # Decoupled, nothing of theirs is left.
    with pytest.raises(NearfarError, match=r"has no negative.*similarity_margin"):
        info_nce(far, far.roll(1, 0), similarity_margin=-1.9, decoupled=True, backend=backend)


@pytest.mark.parametrize("backend", ["tiled", "dense"])
def test_a_key_that_equals_the_positive_is_not_more_similar(backend: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    twice = torch.randn(64, 96, generator=generator).repeat(2, 1)
    q = twice + torch.randn(128, 96, generator=generator)
    kept = info_nce(q, twice, similarity_margin=0.0, backend=backend)
    wanted = info_nce(q, twice, similarity_margin=1e-5, backend=backend)
    torch.testing.assert_close(kept, wanted)


def test_a_bias_that_forbids_a_positive_is_named() -> None:
    bias = torch.zeros(4, 4)
    bias[2, 2] = -torch.inf
    with pytest.raises(NearfarError, match="bias is -inf for query row 2 and its own positive"):
        info_nce(E4, E4, bias=bias)


def test_a_bias_of_another_format_leaves_the_loss_as_it_is() -> None:
    plain = info_nce(E4, E4 + 1, bias=E4)
    assert torch.equal(info_nce(E4, E4 + 1, bias=E4.double()), plain)


def test_checks_that_read_values_can_be_switched_off() -> None:
    with checks(enabled=False):
        assert info_nce(NAN, E4).isnan()
    with pytest.raises(NearfarError):
        info_nce(NAN, E4)


def test_checks_are_switched_off_in_one_thread_alone() -> None:
    inside, done = Event(), Event()

    def elsewhere() -> bool:
        with checks(enabled=False):
            inside.set()
            done.wait(10)
            return bool(info_nce(NAN, E4).isnan())

    with ThreadPoolExecutor(1) as pool:
        unchecked = pool.submit(elsewhere)
        inside.wait(10)
        with pytest.raises(NearfarError):
            info_nce(NAN, E4)
        done.set()
        assert unchecked.result()
