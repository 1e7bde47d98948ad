"""What the loss is doing, against closed forms, double loops and autograd in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import normalize

from nearfar import NearfarError, Temperature, contrastive_stats, info_nce
from nearfar.anatomy import (
    _players,
    _stats,
    advise,
    blunt_limit,
    collapsed_step,
    forces,
    hardest_share,
    health,
    label_numbers,
    margin,
    motion,
    negatives_for,
    play,
    push_weights,
    sharp_limit,
    temperature_gradient,
    tolerance,
    uniformity,
)

N, D, TAU = 13, 6, 0.3
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def rows(number: int, seed: int, dim: int = D) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, dim, generator=generator, dtype=torch.float64)


Q, K, BANK = rows(N, 0), rows(N, 0) + 0.8 * rows(N, 1), rows(5, 2)
MASK = (torch.arange(N)[:, None] + torch.arange(N)) % 3 > 0
IDS, BANK_IDS = torch.arange(N) // 2, torch.tensor([0, 0, 3, 90, 91])
CASES: dict[str, dict[str, Any]] = {
    "batch": {},
    "ids": {"ids": IDS},
    "mask": {"ids": IDS, "mask": MASK},
    "bank": {"negatives": BANK},
    "bank, ids": {"ids": IDS, "negatives": BANK, "negative_ids": BANK_IDS},
    "bank without ids": {"ids": IDS, "negatives": BANK},
}


def losses(query: Tensor, key: Tensor, tau: Any, case: dict[str, Any], **more: Any) -> Tensor:
    words = {"ids": case.get("ids"), "negative_keys": case.get("negatives")}
    words["mask"] = case.get("mask")
    if "negative_ids" in case:
        words["negative_ids"] = case["negative_ids"]
    return info_nce(query, key, temperature=tau, reduction="none", in_batch=True, **words, **more)


@pytest.mark.parametrize("name", CASES)
def test_the_game_is_what_two_loops_find(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_players, "ENTRIES", 40)
    case = CASES[name]
    game = play(Q, K, TAU, **case, k=3)
    torch.testing.assert_close(game.loss, losses(Q, K, TAU, case), **EXACT)
    q, k = normalize(Q), normalize(torch.cat([K, case.get("negatives", BANK[:0])]))
    ids = torch.cat([case.get("ids", torch.arange(N)), case.get("negative_ids", 100 + BANK_IDS)])
    for i in range(N):
        mask = case.get("mask", torch.ones(N, len(k), dtype=torch.bool))
        strangers = [j for j in range(len(k)) if j != i and ids[j] != ids[i] and mask[i, j]]
        s = [float(q[i] @ k[j]) for j in strangers]
        own = float(q[i] @ k[i])
        weights = [math.exp(x / TAU) for x in s]
        total = sum(weights)
        p = [w / (total + math.exp(own / TAU)) for w in weights]
        p_own = math.exp(own / TAU) / (total + math.exp(own / TAU))
        among = [w / total for w in weights]
        mean = sum(s) / len(s)
        wanted = {
            "negatives": len(s),
            "probability": p_own,
            "rank": 1 + sum(x >= own for x in s),
            "entropy": -sum(x * math.log(x) for x in [*p, p_own]),
            "effective_negatives": math.exp(-sum(x * math.log(x) for x in among)),
            "concentration": sum(x * x for x in among),
            "positive": own,
            "expected": p_own * own + sum(a * b for a, b in zip(p, s, strict=True)),
            "level": TAU * math.log(total / len(s)),
            "mean": mean,
            "deviation": math.sqrt(sum((x - mean) ** 2 for x in s) / len(s)),
            "hardest_similarity": max(s),
            "chance": math.log(len(s) + 1),
        }
        for what, value in wanted.items():
            assert float(getattr(game, what)[i]) == pytest.approx(value, rel=1e-10), what
        order = sorted(range(len(s)), key=lambda j: -s[j])[:3]
        assert game.hardest[i].tolist() == [strangers[j] for j in order]
        assert game.share[i].tolist() == pytest.approx([among[j] for j in order])
    assert game.top(1) == float((game.rank == 1).double().mean())


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("unit", [True, False])
def test_forces_are_the_gradient(name: str, unit: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_players, "ENTRIES", 40)
    case = CASES[name]
    q, k = (normalize(Q), normalize(K)) if unit else (Q, K)
    bank = case | ({"negatives": normalize(BANK)} if unit and "negatives" in case else {})
    x = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(losses(x, k, TAU, bank, normalize=False).sum(), x)
    found = forces(Q, K, TAU, **case, normalize=unit)
    torch.testing.assert_close(found.gradient, wanted, **EXACT)
    torch.testing.assert_close(found.pull, k / TAU, **EXACT)
    cosine = (found.pull * found.push).sum(1) / found.pull.norm(dim=1) / found.push.norm(dim=1)
    torch.testing.assert_close(found.angle.cos(), cosine, **EXACT)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_motion_splits_the_gradient(similarity: Any) -> None:
    x, scale = (3 * Q).requires_grad_(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    unit = similarity == "cosine"
    each = losses(x, K, TAU * (-scale).exp(), {}, normalize=unit)
    (gradient,) = torch.autograd.grad(each.sum(), x, retain_graph=True)
    found = motion(3 * Q, K, TAU, similarity=similarity)
    length = (3 * Q).norm(dim=1)
    torch.testing.assert_close(found.length, length, **EXACT)
    hat = normalize(Q)
    along = (hat * gradient).sum(1)
    torch.testing.assert_close(found.scaling, along, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(
        found.rotation, (gradient - along[:, None] * hat).norm(dim=1), **EXACT
    )
    by_scale = torch.stack(
        [torch.autograd.grad(loss, scale, retain_graph=True)[0] for loss in each]
    )
    torch.testing.assert_close(found.log_scale_gradient, by_scale, **EXACT)
    game = play(3 * Q, K, TAU, normalize=unit)
    torch.testing.assert_close(
        found.log_scale_gradient, (game.expected - game.positive) / TAU, **EXACT
    )
    # A free vector under plain SGD, exactly.
    torch.testing.assert_close(
        found.next_length(0.1), (3 * Q - 0.1 * gradient).norm(dim=1), **EXACT
    )
    if unit:
        assert found.scaling.abs().max() < 1e-14
        grown = found.length.square() + 0.01 * gradient.square().sum(1)
        torch.testing.assert_close(found.next_length(0.1).square(), grown, **EXACT)
        torch.testing.assert_close(found.effective_step(0.1), 0.1 / length.square())
        assert found.scaling_share.max() < 1e-25
    else:
        torch.testing.assert_close(
            found.scaling, (game.expected - game.positive) / (TAU * length), **EXACT
        )
        # Longer where the positive beats the p-weighted crowd, shorter otherwise.
        clear = found.scaling.abs() > 1e-6
        longer = found.next_length(1e-9) > length
        assert (longer == (game.positive > game.expected))[clear].all()
        assert (game.positive < game.expected).any()
        assert (game.positive > game.expected).any()
        share = along.square() / gradient.square().sum(1)
        torch.testing.assert_close(found.scaling_share[clear], share[clear], **EXACT)


def test_below_the_normalisations_epsilon_lengths_count_again() -> None:
    tiny = Q.clone()
    tiny[0] *= 1e-14
    x = tiny.clone().requires_grad_()
    each = info_nce(x, K, temperature=TAU, reduction="none", backend="dense")
    (gradient,) = torch.autograd.grad(each.sum(), x)
    found = motion(tiny, K, TAU)
    assert found.short.tolist() == [True] + [False] * (N - 1)
    along = (normalize(Q)[0] * gradient[0]).sum()
    torch.testing.assert_close(found.scaling[0], along, rtol=1e-9, atol=0)
    assert found.scaling_share[0] > 1e-6
    assert found.scaling_share[1:].max() < 1e-20


def test_adam_and_encoders_do_change_lengths_to_first_order() -> None:
    """What the docstrings say must not be claimed of them."""

    def change(step: float, adam: bool) -> float:
        x = Q.clone().requires_grad_()
        rule = torch.optim.Adam([x], step) if adam else torch.optim.SGD([x], step)
        info_nce(x, K, temperature=TAU, reduction="sum").backward()
        rule.step()
        return float((x.detach().norm(dim=1) - Q.norm(dim=1)).abs().mean()) / step

    assert change(1e-4, adam=False) < 1e-3
    assert change(1e-4, adam=True) > 0.1

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(D, 8), nn.Tanh(), nn.Linear(8, D)).double()
    before = net(Q).detach().norm(dim=1)
    info_nce(net(Q), net(K), temperature=TAU).backward()
    with torch.no_grad():
        for weight in net.parameters():
            weight -= 1e-6 * weight.grad
        after = net(Q).norm(dim=1)
    assert float((after - before).abs().mean()) / 1e-6 > 0.01


def test_weights_go_from_the_hardest_alone_to_all_alike() -> None:
    s = torch.tensor([[0.9, 0.1, 0.9, -0.4], [0.3, -torch.inf, 0.2, 0.1]], dtype=torch.float64)
    assert push_weights(s, 0).tolist() == [[0.5, 0, 0.5, 0], [1, 0, 0, 0]]
    assert push_weights(s, math.inf).tolist() == [[0.25] * 4, [1 / 3, 0, 1 / 3, 1 / 3]]
    torch.testing.assert_close(push_weights(s, 1e-3), push_weights(s, 0))
    torch.testing.assert_close(push_weights(s, 1e7), push_weights(s, math.inf), rtol=1e-6, atol=0)
    torch.testing.assert_close(push_weights(s, 0.2), (s / 0.2).softmax(1))
    for wrong in (-0.1, math.nan):
        with pytest.raises(NearfarError, match=r"temperature=.*wanted 0 to infinity"):
            push_weights(s, wrong)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", [0.1, 0.5, 1.0])
def test_the_hardest_take_their_share(name: str, part: float) -> None:
    case = CASES[name]
    game = play(Q, K, TAU, **case, k=N + 5)
    many = [math.ceil(part * int(k) - 1e-9) for k in game.negatives]
    wanted = [float(game.share[i, :m].sum()) for i, m in enumerate(many)]
    found = hardest_share(Q, K, TAU, part, **case)
    assert found.tolist() == pytest.approx(wanted, rel=1e-10)


def test_a_share_is_a_share() -> None:
    for part in (0.0, -1.0, 1.5):
        with pytest.raises(NearfarError, match=r"part=.*wanted a share"):
            hardest_share(Q, K, TAU, part)


def test_the_gradient_by_temperature_and_both_limits() -> None:
    tau = torch.full((N,), TAU, dtype=torch.float64, requires_grad=True)
    s = normalize(Q) @ normalize(K).T / tau[:, None]
    loss = s.logsumexp(1) - s.diagonal()
    (wanted,) = torch.autograd.grad(loss.sum(), tau)
    torch.testing.assert_close(temperature_gradient(play(Q, K, TAU)), wanted, **EXACT)
    sharp, blunt = play(Q, K, 1e-5), play(Q, K, 1e6)
    torch.testing.assert_close(1e-5 * sharp.loss, sharp_limit(sharp), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        1e6 * (blunt.loss - blunt.chance), blunt_limit(blunt), rtol=0, atol=1e-5
    )


def test_tolerance_is_the_mean_over_pairs_of_one_label() -> None:
    x, labels = normalize(Q), torch.tensor([0, 1, 2] * 4 + [7])
    pairs = [
        float(x[i] @ x[j]) for i in range(N) for j in range(N) if i != j and labels[i] == labels[j]
    ]
    assert tolerance(x, labels) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)
    with pytest.raises(NearfarError, match="no label has two items"):
        tolerance(x, torch.arange(N))
    with pytest.raises(NearfarError, match="labels has 3 rows but vectors has 13"):
        tolerance(x, torch.arange(3))


@settings(deadline=None, max_examples=50)
@given(
    alpha=st.floats(-1, 1),
    beta=st.floats(-1, 1),
    tau=st.floats(0.01, 2),
    count=st.integers(1, 300),
)
def test_with_all_strangers_alike_the_margin_says_it_all(
    alpha: float, beta: float, tau: float, count: int
) -> None:
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)

    def at(cosine: float) -> Tensor:
        return torch.tensor([[cosine, math.sqrt(1 - cosine**2)]], dtype=torch.float64)

    game = play(one, at(alpha), tau, negatives=at(beta).repeat(count, 1))
    found = margin(game)
    assert found.effective == pytest.approx(beta + tau * math.log(count), abs=1e-9)
    wanted = math.log1p(count * math.exp((beta - alpha) / tau))
    for reading in ("exact", "mean_field", "second_order"):
        assert getattr(found, reading) == pytest.approx(wanted, rel=1e-8, abs=1e-12)
    # The hinge is below by softplus(-|x|): at most ln 2, whatever K.
    x = (found.effective - alpha) / tau
    assert -found.errors["hinge"] == pytest.approx(math.log1p(math.exp(-abs(x))), abs=1e-8)
    assert -found.errors["hinge"] <= math.log(2) + 1e-12
    assert negatives_for(found.effective, beta, tau) == pytest.approx(count, rel=1e-6)


def test_real_crowds_are_louder_than_their_mean() -> None:
    """The mean underestimates by sigma^2 / 2 tau^2; a larger K does not cure it (theory table)."""
    errors = []
    for count in (1024, 16384):
        query = normalize(rows(64, 3, 128))
        partner = query * 0.2 + math.sqrt(1 - 0.2**2) * normalize(rows(64, 4, 128))
        found = margin(play(query, partner, 0.1, negatives=rows(count, 5, 128)))
        assert found.exact == pytest.approx(
            float(play(query, partner, 0.1, negatives=rows(count, 5, 128)).loss.mean()), rel=1e-12
        )
        assert abs(found.errors["second_order"]) < 0.01
        assert found.spread == pytest.approx(1 / (0.1 * math.sqrt(128)), rel=0.05)
        assert found.frozen == 0
        errors.append(-found.errors["mean_field"])
    assert errors[1] > errors[0] > 0.25
    assert errors[1] == pytest.approx(1 / (2 * 0.01 * 128), rel=0.05)
    query = normalize(rows(64, 3, 16))
    cold = margin(play(query, query, 0.02, negatives=rows(1024, 5, 16)))
    assert cold.frozen == 1
    assert cold.effective_negatives < 20


def test_what_makes_no_margin() -> None:
    with pytest.raises(NearfarError, match="temperature=0: wanted a positive"):
        negatives_for(0.5, 0.0, 0)


def test_bad_games_are_refused_as_by_the_loss() -> None:
    with pytest.raises(NearfarError, match="no negative"):
        play(Q, K, TAU, ids=torch.zeros(N, dtype=torch.long))
    with pytest.raises(NearfarError, match=r"mask has the shape \(13, 13\); wanted .* each of 18"):
        play(Q, K, TAU, negatives=BANK, mask=MASK)
    with pytest.raises(NearfarError, match="temperature"):
        play(Q, K, 0.0)
    with pytest.raises(NearfarError, match="positive_key has shape"):
        forces(Q, K[:3], TAU)
    with pytest.raises(NearfarError, match=r"similarity='l2': wanted 'cosine' or 'dot'"):
        motion(Q, K, TAU, similarity="l2")  # type: ignore[arg-type]
    with pytest.raises(NearfarError, match="argument='id': wanted one of ids, negatives"):
        play(Q, K, TAU, id=IDS)  # type: ignore[call-arg]
    with pytest.raises(NearfarError, match="normalize follows from similarity"):
        motion(Q, K, TAU, normalize=False)
    assert play(Q, K, Temperature(TAU)).temperature == pytest.approx(TAU)


def test_stats_of_a_large_batch_look_at_some_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stats, "QUERIES", 4)
    q, k = Q.float(), K.float()
    stats = contrastive_stats(q, k, TAU)
    game = play(q, k, TAU)
    assert stats.info_nce == pytest.approx(float(game.loss[:4].mean()), rel=1e-5)
    assert stats.chance == pytest.approx(math.log(N))
    assert stats.effective_negatives == pytest.approx(float(game.effective_negatives[:4].mean()))
    assert stats.length_middle == pytest.approx(float(q[:4].norm(dim=1).median()), rel=0.5)
    assert stats.length_low <= stats.length_middle <= stats.length_high
    assert stats.hardest_1 <= stats.hardest_10
    read = forces(q, k, TAU)
    assert stats.force_angle == pytest.approx(float(read.angle[:4].mean()), rel=1e-4)


def test_uniformity_is_the_mean_over_pairs() -> None:
    x = normalize(Q)
    pairs = torch.pdist(x).square().mul(-2).exp().mean().log()
    torch.testing.assert_close(uniformity(x), pairs, **EXACT)


def test_health_knows_the_ways_to_die() -> None:
    alive = rows(400, 6, 16)
    assert health(alive).warnings == []
    assert health(alive).unused == 0
    same = health(torch.ones(50, 16) + 1e-4 * rows(50, 7, 16))
    assert "collapsed" in same.warnings[0]
    flat = health(rows(400, 8, 1) @ rows(1, 9, 16))
    assert flat.effective_rank == pytest.approx(1, rel=1e-3)
    assert "dimensional collapse" in flat.warnings[0]
    half = alive.clone()
    half[:, :12] *= 1e-3
    assert health(half).unused == 12
    assert any("12 of 16 dimensions hardly vary" in line for line in health(half).warnings)
    broken = alive.clone()
    broken[:100, 3] = torch.nan
    assert health(broken).finite == pytest.approx(0.75)
    assert "25.0% of the embeddings hold a NaN" in health(broken).warnings[0]
    assert health(torch.full((3, 2), torch.nan)).finite == 0


def test_advice_names_what_stands_out() -> None:
    labels = torch.arange(64) // 8
    centres = torch.eye(8, dtype=torch.float64)[labels]
    q = centres + 0.02 * rows(64, 10, 8)
    k = centres + 0.02 * rows(64, 11, 8)

    def said(tau: float, labels: Tensor | None = labels, q: Tensor = q, k: Tensor = k) -> str:
        return " ".join(advise(play(q, k, tau), float(hardest_share(q, k, tau).mean()), labels))

    assert "likely false negatives. Raise the temperature" in said(1e-4)
    assert "though many others push" in said(0.1)
    assert "false negatives" not in said(0.1, None)
    assert "hardly tells hard from easy" in said(50.0, None, rows(64, 1, 8), rows(64, 1, 8))
    assert "partner is not found yet" in said(0.5, None, rows(64, 12), rows(64, 13))
    assert "nearly won" in said(0.05, None, torch.eye(64), torch.eye(64))
    near = rows(64, 14, 8)
    assert "few hardest negatives decide" in said(0.01, None, near, near + 0.5 * rows(64, 15, 8))


def test_vectors_that_have_grown_turn_slowly() -> None:
    assert collapsed_step([1.0, 3.0, 9.0]) is None
    said = collapsed_step([1.0, 5.0, 20.0])
    assert said is not None
    assert "20 times as long" in said
    assert "400 times less" in said
    assert collapsed_step([1.0, 20.0], "dot") is None
    assert collapsed_step([]) is None


def test_labels_become_numbers() -> None:
    found = label_numbers(["b", "a", "b"])
    assert found is not None
    assert found.tolist() == [0, 1, 0]
    assert label_numbers(["", ""]) is None
