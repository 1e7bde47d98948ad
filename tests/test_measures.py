"""Anatomy and evaluation against closed forms."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from torch.nn.functional import normalize

from nearfar import NearfarError, info_nce
from nearfar.anatomy import contrastive_stats, effective_rank, uniformity
from nearfar.embed import nearest, write_vectors
from nearfar.probes import held_out, knn, linear_probe, neighbours_for
from nearfar.recipes import build, find


def test_stats_are_the_loss_and_its_gradient() -> None:
    q, k = (torch.randn(9, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    stats = contrastive_stats(q, k, 0.3)
    assert stats.info_nce == pytest.approx(info_nce(q, k, temperature=0.3).item(), rel=1e-5)
    assert stats.chance == pytest.approx(math.log(9))
    assert stats.mutual_information == pytest.approx(stats.chance - stats.info_nce)
    unit = normalize(q).requires_grad_()
    info_nce(unit, k, temperature=0.3, reduction="sum", normalize=False)
    p = (normalize(q) @ normalize(k).T / 0.3).softmax(1)
    push = (p @ normalize(k) / 0.3).norm(dim=1).mean().item()
    assert stats.push_norm == pytest.approx(push, rel=1e-5)
    assert contrastive_stats(torch.ones(4, 3), torch.ones(4, 3), 0.1).top1 == 0  # collapsed


def test_stats_know_who_is_no_negative(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k = (torch.randn(9, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    ids = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4, 0])
    wanted = info_nce(q, k, temperature=0.3, ids=ids, reduction="none")
    assert contrastive_stats(q, k, 0.3, ids).info_nce == pytest.approx(
        wanted.mean().item(), rel=1e-5
    )
    monkeypatch.setattr("nearfar.anatomy._stats.QUERIES", 5)
    few = contrastive_stats(q, k, 0.3, ids).info_nce
    assert few == pytest.approx(wanted[:5].mean().item(), rel=1e-5)
    mask = (torch.arange(9)[:, None] + torch.arange(9)) % 3 > 0
    wanted = info_nce(q, k, temperature=0.3, ids=ids, mask=mask, reduction="none")[:5].mean()
    few = contrastive_stats(q, k, 0.3, ids, mask).info_nce
    assert few == pytest.approx(wanted.item(), rel=1e-5)


def test_effective_rank_counts_directions() -> None:
    corners = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(corners).item() == pytest.approx(4, rel=1e-5)
    assert effective_rank(corners[:, :1] @ torch.ones(1, 4)).item() == pytest.approx(1, rel=1e-3)
    assert uniformity(normalize(torch.ones(5, 3))).item() == pytest.approx(0, abs=1e-6)


def test_probes_on_separable_and_on_shuffled_data() -> None:
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])[np.arange(300) % 3]
    centres = np.eye(3)[np.arange(300) % 3] * 4
    x = (centres + rng.normal(size=(300, 3))).astype(np.float32)
    split = (x[:200], list(names[:200]), x[200:], list(names[200:]))
    assert knn(*split, k=5) > 0.9
    assert linear_probe(*split) > 0.9
    noise = list(rng.permutation(names[:200]))
    assert knn(x[:200], noise, x[200:], list(names[200:]), k=50) < 0.6


def test_knn_weights_near_neighbours_most() -> None:
    gallery = np.array([[1, 0], [0, 1], [0.1, 1]], np.float32)
    assert knn(gallery, ["a", "b", "b"], np.array([[1, 0.1]], np.float32), ["a"], 3) == 1.0
    assert [neighbours_for(n) for n in (3, 1000, 10_000, 50_000)] == [3, 5, 200, 200]


def test_nearest_against_numpy() -> None:
    x = normalize(torch.randn(50, 8, generator=torch.Generator().manual_seed(0))).numpy()
    similarity, rows = nearest(x, x[:4], 100)
    assert rows.shape == (4, 50)
    np.testing.assert_array_equal(rows, np.argsort(-(x[:4] @ x.T), axis=1, kind="stable"))
    assert (np.diff(similarity) <= 0).all()


def test_held_out_needs_enough_of_each() -> None:
    assert held_out(range(4), None) is None
    assert held_out(range(4), ["a", "a", "a", "b"]) is None
    probe = held_out(range(50), ["a", "b"] * 25)
    assert probe is not None
    assert sorted([*probe.gallery, *probe.queries]) == list(range(50))
    assert probe.query_labels.count("a") == 5


def test_groups_are_held_out_together() -> None:
    rows, labels = range(60), ["a", "b"] * 30
    alone = held_out(rows, labels)
    assert alone == held_out(rows, labels, groups=list(rows))  # figures stay what they were
    for size in (3, 15):  # fifteen: two groups a label, of which one is held out
        groups = [row // (2 * size) * 2 + row % 2 for row in rows]
        probe = held_out(rows, labels, groups=groups)
        assert probe is not None
        assert sorted([*probe.gallery, *probe.queries]) == list(rows)
        assert not {groups[row] for row in probe.gallery} & {groups[row] for row in probe.queries}
        assert [labels[row] for row in probe.queries] == probe.query_labels
        assert set(probe.query_labels) == set(probe.gallery_labels) == {"a", "b"}
    assert held_out(rows, labels, groups=[row % 2 for row in rows]) is None


def test_digits_show_other_digits_to_the_test() -> None:
    experiment = build(find("digits"), {}, seed=0)
    assert experiment.probe is not None
    assert len(experiment.pairs) + len(experiment.probe.queries) == 1797
    again = build(find("digits"), {}, seed=0)
    for a, b in zip(experiment.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(NearfarError, match="Did you mean 'digits'"):
        find("digit")


@pytest.mark.parametrize("ending", ["parquet", "npz", "safetensors"])
def test_vectors_written_part_by_part_are_all_there(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearfar.embed._ROW_GROUP", 5)
    vectors = np.random.default_rng(0).normal(size=(13, 3)).astype(np.float32)
    names = [f"item {row}" for row in range(13)]
    cuts = [slice(0, 4), slice(4, 8), slice(8, 9), slice(9, 13)]
    path = tmp_path / f"vectors.{ending}"
    assert write_vectors(path, ((names[cut], vectors[cut]) for cut in cuts)) == (13, 3)
    if ending == "parquet":
        table = pq.read_table(path).to_pydict()
        assert table["name"] == names
        assert np.array_equal(np.array(table["vector"], np.float32), vectors)
        assert pq.ParquetFile(path).num_row_groups == 2
    elif ending == "npz":
        with np.load(path, allow_pickle=False) as arrays:
            assert arrays["names"].tolist() == names
            assert np.array_equal(arrays["vectors"], vectors)
    else:
        with safe_open(path, "numpy") as file:
            assert json.loads(file.metadata()["names"]) == names
            assert np.array_equal(file.get_tensor("vectors"), vectors)


def test_a_broken_stream_leaves_no_file(tmp_path: Path) -> None:
    def parts() -> Iterator[tuple[list[str], np.ndarray]]:
        yield ["a"], np.zeros((1, 2), np.float32)
        raise NearfarError("the disk is gone")

    with pytest.raises(NearfarError, match="the disk is gone"):
        write_vectors(tmp_path / "vectors.parquet", parts())
    assert not list(tmp_path.iterdir())
