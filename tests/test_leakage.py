"""Batch-norm leakage: what mends it, and the audit that finds it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from loss.spawn import on_ranks
from nearfar import MomentumEncoder, NearfarError
from nearfar.anatomy.leakage import audit, coupling, holm, placement_gap, sign_flip
from nearfar.cli import main
from nearfar.encoders import BatchNormOverRanks, synchronised
from nearfar.loss import shuffled

WIDTH = 16
ROWS, SHARDS = 12, ([6, 6], [9, 3], [12, 0])
SHAPES = ((ROWS, 3), (ROWS, 3, 5), (ROWS, 3, 4, 2))
Norm = Callable[[int], nn.Module]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(norm: Norm = nn.BatchNorm1d) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(WIDTH, 2 * WIDTH), norm(2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)]
    return nn.Sequential(*layers).double()


def views(rows: int, noise: float = 0.5) -> tuple[Tensor, Tensor]:
    item, one, other = drawn(3, rows, WIDTH)
    return item + noise * one, item + noise * other


def learned(layer: nn.Module, x: Tensor, factor: Tensor, *, twice: bool) -> list[Tensor]:
    """Outputs, every first and some second derivatives, running statistics."""
    x = x.clone().requires_grad_()
    layer(x.detach() + 1)
    out = layer(x)
    first = torch.autograd.grad(
        (out.sin() * factor).sum(), [x, *layer.parameters()], create_graph=twice
    )
    second = torch.autograd.grad(first[0].square().sum(), x) if twice else []
    layer.eval()
    after = [] if layer.running_mean is None else [layer(x).detach()]
    return [out.detach(), *(g.detach() for g in first), *second, *after]


def ordinary(dim: int, dtype: torch.dtype, **options: Any) -> nn.Module:
    layer = (nn.BatchNorm2d if dim == 4 else nn.BatchNorm1d)(3, **options).to(dtype)
    if layer.affine:
        layer.weight.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return layer


FAR = drawn(ROWS, 3) + 1e4


CASES: dict[str, tuple[tuple[int, ...], torch.dtype, dict[str, Any]]] = {
    f"{len(shape)}d, {dtype}": (shape, dtype, {})
    for shape in SHAPES
    for dtype in (torch.float32, torch.float64)
} | {
    "plain": (SHAPES[0], torch.float64, {"affine": False, "track_running_stats": False}),
    "cumulative": (SHAPES[0], torch.float64, {"momentum": None}),
}


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    shape, dtype, options = CASES[name]
    x = 3 * drawn(*shape) + 1
    return ordinary(len(shape), dtype, **options), x.to(dtype), drawn(*shape, seed=1).to(dtype)


def work(rank: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for counts in SHARDS:
        at = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
        for name in CASES:
            layer, x, factor = case(name)
            twice = x.dtype == torch.float64
            layer = synchronised(layer)
            found[f"{name}, {counts}"] = learned(layer, x[at], factor[at], twice=twice)
            found[f"{name}, {counts}, buffers"] = [b.clone() for b in layer.buffers()]
        far = synchronised(ordinary(2, torch.float32))
        far(FAR.float()[at])
        found[f"far, {counts}"] = far.running_var.clone()
        x, encoder = drawn(ROWS, WIDTH)[at], network(nn.LayerNorm)
        found[f"shuffled, {counts}"] = [shuffled(encoder, x), encoder(x).detach()]
    with pytest.raises(NearfarError, match=r"1 value.* on all 2 ranks together"):
        BatchNormOverRanks(3)(torch.zeros(1 - rank, 3))
    half = BatchNormOverRanks(3)(torch.randn(4, 3).bfloat16())
    assert half.dtype == torch.bfloat16

    query, key = (x[8 * rank : 8 * rank + 8] for x in views(16))
    layer = network()
    together = synchronised(network())
    slow = MomentumEncoder(layer)
    moved = (shuffled(slow, key) - slow(key)).norm()
    found["a shuffled batch norm's key moves"] = float(moved)
    pipelines: dict[str, tuple[nn.Module, Any]] = {
        "local": (layer, None),
        "synchronised": (together, None),
        "layer norm": (network(nn.LayerNorm), None),
        "shuffled": (layer, lambda x: shuffled(slow, x)),
    }
    for name, (model, encode_key) in pipelines.items():
        result = audit(model, query, key, None, encode_key=encode_key)
        gap = result.gaps[0]
        found[name] = [result.leaks, gap.nats, gap.p, gap.devices, gap.per_device, result.coupling]
    dist.barrier()
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return on_ranks(work, 2, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", CASES)
def test_batch_norm_over_ranks_is_that_of_one_process(
    name: str, ranks: list[dict[str, Any]]
) -> None:
    layer, x, factor = case(name)
    exact = x.dtype == torch.float64
    wanted = learned(layer, x, factor, twice=exact)
    for counts in SHARDS:
        parts = zip(*(rank[f"{name}, {counts}"] for rank in ranks), strict=True)
        for place, (part, value) in enumerate(zip(parts, wanted, strict=True)):
            # Gradients of weight and bias are added up, as DistributedDataParallel does.
            joined = torch.cat(part) if len(value) == ROWS else torch.stack(part).sum(0)
            close = 1e-12 if exact else 1e-6 if place == 0 else 1e-5
            torch.testing.assert_close(joined, value, rtol=close, atol=close)
        for rank in ranks:
            for mine, its in zip(rank[f"{name}, {counts}, buffers"], layer.buffers(), strict=True):
                torch.testing.assert_close(mine, its, rtol=1e-12 if exact else 1e-6, atol=0)


def test_a_large_mean_does_not_swallow_the_variance(ranks: list[dict[str, Any]]) -> None:
    wanted = 0.9 + 0.1 * FAR.float().double().var(0)
    for found, counts in ((found, counts) for found in ranks for counts in SHARDS):
        torch.testing.assert_close(found[f"far, {counts}"].double(), wanted, rtol=1e-5, atol=0)


def test_shuffling_changes_nothing_but_the_companions(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        for counts in SHARDS:
            keys, plain = found[f"shuffled, {counts}"]
            torch.testing.assert_close(keys, plain, rtol=1e-12, atol=1e-12)
        assert found["a shuffled batch norm's key moves"] > 0.1
    x = drawn(4, WIDTH)
    assert torch.equal(shuffled(network(), x), network()(x))  # one rank


def test_the_audit_on_real_ranks(ranks: list[dict[str, Any]]) -> None:
    for found in ranks:
        leaks, nats, p, devices, each, moved = found["local"]
        assert (devices, each) == (2, 8)
        assert leaks
        assert nats > 0.05
        assert p < 0.001
        assert moved > 0.05
        assert not found["shuffled"][0]
        for name in ("synchronised", "layer norm"):
            assert not found[name][0]
            assert abs(found[name][1]) < 1e-12
        assert found["layer norm"][-1] < 1e-12 < found["synchronised"][-1]
        assert all(found[name] == ranks[0][name] for name in ("local", "shuffled"))


def test_synchronised_keeps_everything_but_the_class() -> None:
    model = nn.Sequential(network(), nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2)))
    before, state = list(model.parameters()), dict(model.state_dict())
    assert synchronised(model) is model
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert list(model.state_dict()) == list(state)
    assert isinstance(model[0][1], BatchNormOverRanks)
    assert isinstance(model[1][0], BatchNormOverRanks)
    assert isinstance(synchronised(nn.Sequential(nn.SyncBatchNorm(2)))[0], BatchNormOverRanks)
    x = drawn(5, WIDTH)
    assert torch.equal(model[0](x), network()(x))  # one rank: torch's own

    class Activated(nn.BatchNorm1d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).relu()

    with pytest.raises(NearfarError, match=r"model\.0 is a Activated, a batch norm with a forward"):
        synchronised(nn.Sequential(Activated(3)))
    with pytest.raises(NearfarError, match=r"input has shape \(2, 5\); wanted \(N, 3, ...\)"):
        BatchNormOverRanks(3)(torch.zeros(2, 5))


@pytest.mark.parametrize("each", [4, 8])
def test_statistics_per_device_leak(each: int) -> None:
    query, key = views(8 * each)
    found = audit(network(), query, key, 8)
    gap = found.gaps[0]
    assert found.leaks
    assert (gap.devices, gap.per_device) == (8, each)
    assert gap.nats > gap.low > 0.1
    assert gap.p <= 0.001
    assert "nats easier to find when it is encoded on its query's device" in found.verdict
    assert "nearfar.encoders.synchronised" in found.mend


@pytest.mark.parametrize("kind", [BatchNormOverRanks, nn.SyncBatchNorm, nn.LayerNorm, "shuffled"])
def test_what_does_not_leak_is_not_accused(kind: Any) -> None:
    query, key = views(32)
    model = network(nn.BatchNorm1d if kind == "shuffled" else kind)
    found = audit(model, query, key, [4, 8], shuffle=kind == "shuffled")
    assert not found.leaks
    assert [gap.devices for gap in found.gaps] == [4, 8]
    if kind != "shuffled":
        assert all(abs(gap.nats) < 1e-12 for gap in found.gaps)
    independent = kind is nn.LayerNorm
    assert (found.coupling < 1e-12) == independent
    assert ("nothing can leak" in found.verdict) == independent
    assert ("has no batch norm" in found.verdict) == independent
    assert found.synchronised == (kind in (BatchNormOverRanks, nn.SyncBatchNorm))
    assert "No embedding moves" in audit(lambda x: x, query, key, 8).verdict


def test_a_head_that_was_forgotten_is_found() -> None:
    model = nn.Sequential(synchronised(network()), nn.BatchNorm1d(WIDTH).double())
    found = audit(model, *views(32), 8)
    assert found.leaks
    assert (found.batch_norms, found.synchronised) == (2, 1)
    assert "forward" not in vars(model[1])
    frames = nn.Sequential(
        nn.Unflatten(1, (2, WIDTH // 2)), nn.Flatten(0, 1), nn.BatchNorm1d(WIDTH // 2), model
    )
    with pytest.raises(NearfarError, match="sees 64 rows of a batch of 32"):
        placement_gap(frames.double(), *views(32), 8)


def test_own_placement_may_be_the_harder_one() -> None:
    def against(x: Tensor) -> Tensor:
        """On one device, keys lie opposite to their companions' mean."""
        return x - 5 * x.mean(0)

    query, key = views(32)
    found = audit(lambda x: x + 5 * x.mean(0), query, key, 8, encode_key=against)
    assert found.leaks
    assert found.gaps[0].nats < 0
    assert "nats harder to find" in found.verdict


def test_coupling_is_the_distance_moved() -> None:
    x = drawn(10, 3)
    moved = x[:5].mean(0) - torch.stack([x[5:].mean(0) + (x[i] - x[5 + i]) / 5 for i in range(5)])
    wanted = moved.norm(dim=1).mean() / torch.pdist(x[:5]).mean()
    assert coupling(lambda x: x - x.mean(0), x) == pytest.approx(float(wanted), rel=1e-12)


def test_coupling_sees_companions_only() -> None:
    torch.manual_seed(0)
    independent = nn.Sequential(
        spectral_norm(nn.Linear(WIDTH, 8)), nn.Dropout(0.5), nn.LayerNorm(8)
    ).double()
    x = drawn(16, WIDTH)
    assert coupling(independent, x) == 0
    frozen = network()
    frozen[1].eval()
    assert coupling(frozen, x) == 0
    assert coupling(network(), x) > 0.1
    assert coupling(network().eval(), x) == coupling(network(), x)


def test_nothing_of_the_model_changes() -> None:
    model = nn.Sequential(network(), nn.Dropout(0.1), spectral_norm(nn.Linear(WIDTH, 8).double()))
    model.eval()
    model[1].train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random = torch.random.get_rng_state()
    audit(model, *views(32), 4)
    assert torch.equal(random, torch.random.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name
    assert all(p.grad is None for p in model.parameters())
    first, again = (placement_gap(model, *views(32), 4) for _ in range(2))
    assert first == again


def test_p_values() -> None:
    # 2 of the 32 choices of signs are as extreme.
    assert sign_flip(torch.tensor([1.0, 2.0, 1.5, 3.0, 0.5])) == pytest.approx(2 / 32, abs=0.01)
    assert sign_flip(torch.tensor([-1.0] * 40)) == 1e-4
    assert sign_flip(torch.tensor([1.0, -1.0])) == 1.0
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_ids_and_queries_of_another_encoder() -> None:
    query, key = views(16)
    slow = MomentumEncoder(network())
    gap = placement_gap(network(), query, key, 4, encode_key=slow)
    assert gap == placement_gap(network(), query, key, 4)
    same = torch.arange(16) // 2
    assert placement_gap(network(), query, key, 4, ids=same).loss < gap.loss


def test_mistakes_are_explained() -> None:
    x = drawn(16, WIDTH)
    for message, options in {
        r"key_views has shape \(8, 16\) but query_views has \(16, 16\)": {"key_views": x[:8]},
        "devices=1: wanted 2 or more": {"devices": 1},
        "devices=None, and there is one rank": {"devices": None},
        "holds 16 rows for 9 devices; wanted 2 or more on each": {"devices": 9},
        "rounds=7: wanted 8 or more": {"rounds": 7},
        r"devices=\[\]: wanted a number": {"devices": []},
    }.items():
        words: dict[str, Any] = {"query_views": x, "key_views": x, "devices": 4, **options}
        with pytest.raises(NearfarError, match=message):
            audit(network(), **words)
    with pytest.raises(NearfarError, match="x holds 3 rows"):
        coupling(network(), x[:3])
    with pytest.raises(NearfarError, match="its halves are equal"):
        coupling(network(), torch.cat([x, x]))
    with pytest.raises(NearfarError, match=r"encoder makes \(8,\) of 8 rows"):
        coupling(lambda x: x.sum(1), x)


def test_the_command(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["audit", str(trained), "--devices", "4"]
    assert main([*flags, "--per-device", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Nine in the encoder, and the head's, which only the checkpoint still holds.
    assert found["batch_norms"] == 10
    assert found["leaks"]
    assert found["gaps"][0]["nats"] > 0.05
    assert found["coupling"] > 0.05
    assert main([*flags, "--per-device", "2"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "4 virtual devices of 2 pairs, in training mode" in said
    assert "placement gap (nats)" in said
    assert found["mend"] in said
    assert "trained on one device" in said
    # The run's batch of 32 pairs is shared out, and each device has two at least.
    for devices, batch in (("1", 32), ("100", 200)):
        assert main(["audit", str(trained), "--devices", devices]) == 1
        assert f"make a batch of {batch}; wanted 2 or more devices" in capsys.readouterr().err
    assert main(["audit", str(trained / "model")]) == 1
    assert "is not a run folder" in capsys.readouterr().err
