"""Bad input names the argument, the row and the mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nearfar import ClipLoss, NearfarError, NTXentLoss, SupConLoss, checks, info_nce

E4 = torch.eye(4)
NAN = E4.clone()
NAN[2, 1] = torch.nan
ONE = torch.zeros(4, dtype=torch.long)
HALF_EMPTY = torch.tensor([[1.0, 0, 0, 1]] * 4)


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


def test_checks_that_read_values_can_be_switched_off() -> None:
    with checks(enabled=False):
        assert info_nce(NAN, E4).isnan()
    with pytest.raises(NearfarError):
        info_nce(NAN, E4)
