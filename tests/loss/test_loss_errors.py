"""Bad input names the argument, the row and the mend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from nearfar import NearfarError, NTXentLoss, SupConLoss, checks, info_nce

E4 = torch.eye(4)
NAN = E4.clone()
NAN[2, 1] = torch.nan


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
