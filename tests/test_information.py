"""Density ratios and mutual information, against closed forms."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar import NearfarError, info_nce
from nearfar.anatomy.information import (
    density_ratio,
    donsker_varadhan,
    info_nce_bound,
    mutual_information,
    nwj,
    smile,
    split_sizes,
)
from nearfar.anatomy.information._copula import GaussianCritic
from nearfar.anatomy.information._game import play
from nearfar.anatomy.information._margins import Ranks
from nearfar.cli import main

RHO = 0.8
TRUTH = -math.log(1 - RHO**2) / 2


def pairs(count: int, seed: int = 0, rho: float = RHO) -> tuple[Tensor, Tensor]:
    """(count, 1) standard normal x and y of correlation rho, in float64."""
    random = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, count, 1, generator=random, dtype=torch.float64)
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def log_ratio(x: Tensor, y: Tensor, rho: float = RHO) -> Tensor:
    """(N, M) log p(y|x) / p(y) of (N, 1) x and (M, 1) y."""
    x, y = x, y.T
    rest = 1 - rho**2
    return (rho * x * y - rho**2 * (x**2 + y**2) / 2) / rest - math.log(rest) / 2


def correlation(a: Tensor, b: Tensor) -> float:
    return torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()


# The ratio


def test_ratio_of_gaussians_comes_back_from_any_constant_of_a_query() -> None:
    x, y = pairs(200)
    constant = 5 * torch.sin(7 * x)
    noise = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    scores, noise_scores = (log_ratio(x, of) + constant for of in (y, noise))
    found, truth = density_ratio(scores, noise_scores), log_ratio(x, y)
    assert correlation(scores, truth) < 0.97  # scores themselves are no ratio
    assert correlation(found, truth) > 0.999
    # The constant's error is that of a mean of 20,000: small but for far-out queries.
    assert (found - truth)[x[:, 0].abs() < 2].abs().max() < 0.15
    torch.testing.assert_close(
        density_ratio(scores.diagonal(), noise_scores), found.diagonal(), rtol=0, atol=1e-12
    )


def test_ratio_of_a_learned_table() -> None:
    """A critic with a free number for each cell, learned by InfoNCE, finds the joint table."""
    random = torch.Generator().manual_seed(0)
    counts = torch.randint(5, 60, (4, 5), generator=random)
    joint = counts.double() / counts.sum()
    truth = (joint / joint.sum(0) / joint.sum(1, keepdim=True)).log()
    # The table's own proportions: the batch is the law, and its optimum is exact.
    cells = torch.arange(20).repeat_interleave(counts.flatten())
    x, y = cells // 5, cells % 5
    # info_nce sees a score as the product of a row of the table and a one-hot column.
    table = torch.zeros(4, 5, dtype=torch.float64, requires_grad=True)
    columns = torch.eye(5, dtype=torch.float64)
    optimiser = torch.optim.Adam([table], lr=0.1)
    for _ in range(150):
        loss = info_nce(table[x], columns[y], temperature=1.0, normalize=False)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    scores = table.detach() + torch.tensor([[3.0], [-1.0], [0.0], [9.0]])
    held_out = torch.multinomial(joint.sum(0), 20_000, replacement=True, generator=random)
    found = density_ratio(scores, scores[:, held_out])
    assert correlation(found, truth) > 0.999
    torch.testing.assert_close(found, truth, rtol=0, atol=0.03)
    found = info_nce_bound(
        info_nce(scores[x], columns[y], temperature=1.0, normalize=False), len(x)
    )
    assert found.nats == pytest.approx((joint * truth).sum().item(), abs=1e-3)


def test_ratio_refuses_other_shapes() -> None:
    with pytest.raises(NearfarError, match=r"noise_scores \(2, 4\); wanted"):
        density_ratio(torch.zeros(3), torch.zeros(2, 4))


# The bounds


def test_info_nce_bound_is_log_k_minus_loss() -> None:
    q, k = (torch.randn(32, 8, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    each = info_nce(q, k, reduction="none").double()
    found = info_nce_bound(each, candidates=32)
    assert found.nats == pytest.approx(math.log(32) - each.mean().item(), abs=1e-12)
    assert found.bits == pytest.approx(found.nats / math.log(2))
    assert found.ceiling == pytest.approx(math.log(32))
    assert found.low is not None
    half = 1.96 * each.std().item() / math.sqrt(32)
    assert found.nats - found.low == pytest.approx(half)
    assert found.is_bound
    assert found.is_mutual_information
    assert info_nce_bound(1.0, 2 * 32 - 1).ceiling == pytest.approx(math.log(63))  # NT-Xent
    assert info_nce_bound(1.0, 8).low is None


def test_saturated_from_one_nat_below_the_ceiling() -> None:
    assert not info_nce_bound(1.001, 100).saturated
    assert info_nce_bound(0.999, 100).saturated


@pytest.mark.parametrize("negatives", ["hard", "label-aware", "queue"])
def test_other_negatives_are_never_called_mutual_information(negatives: str) -> None:
    joint, product = torch.zeros(3), torch.zeros(3, 5)
    for found in (
        info_nce_bound(1.0, 9, negatives=negatives),
        nwj(joint, product, negatives=negatives),
        donsker_varadhan(joint, product, negatives=negatives),
        smile(joint, product, negatives=negatives),
    ):
        assert not found.is_mutual_information
        assert not found.is_bound
        assert "not mutual information" in found.name
        assert "I(X;Y) + KL(p(y) || q(y))" in found.name


def test_hard_negatives_go_beyond_mutual_information() -> None:
    """Negatives from N(3, 1) instead of N(0, 1): the number exceeds I and stays below I + KL."""
    x, y = pairs(400)
    q = 3 + torch.randn(400, 255, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shift = 3**2 / 2  # log p(y) / q(y) = shift - 3 y, and KL(p || q) = shift
    positive = log_ratio(x, y).diagonal() + shift - 3 * y[:, 0]
    rest = 1 - RHO**2
    noise = (RHO * x * q - RHO**2 * (x**2 + q**2) / 2) / rest - math.log(rest) / 2 + shift - 3 * q
    scores = torch.cat([positive[:, None], noise], 1)
    found = info_nce_bound(scores.logsumexp(1) - positive, 256, negatives="hard")
    assert TRUTH + 1 < found.nats < TRUTH + shift


def test_estimators_with_the_exact_critic() -> None:
    x, y = pairs(4000)
    scores = log_ratio(x, y)
    joint, product = scores.diagonal(), scores[:, torch.arange(2000, 2200)]
    for found, bound in (
        (nwj(joint + 1, product + 1), True),
        (donsker_varadhan(joint, product), False),
        (smile(joint, product), False),
    ):
        assert found.nats == pytest.approx(TRUTH, abs=0.06)
        assert found.low is not None
        assert found.high is not None
        assert found.low < TRUTH < found.high
        assert found.is_bound is bound
        assert found.ceiling is None
    assert donsker_varadhan(joint + 9, product + 9).nats == pytest.approx(
        donsker_varadhan(joint, product).nats
    )
    assert smile(joint, product, clip=math.inf).nats == donsker_varadhan(joint, product).nats


def test_formulas_are_the_papers() -> None:
    random = torch.Generator().manual_seed(2)
    joint = torch.randn(6, generator=random, dtype=torch.float64)
    product = 3 * torch.randn(6, 7, generator=random, dtype=torch.float64)
    mean = joint.mean().item()
    assert nwj(joint, product).nats == pytest.approx(mean - product.exp().mean().item() / math.e)
    clipped = product.exp().clamp(math.exp(-2), math.exp(2)).mean()
    assert smile(joint, product, clip=2).nats == pytest.approx(mean - clipped.log().item())
    exact = mean - product.exp().mean().log().item()
    assert donsker_varadhan(joint, product).nats == pytest.approx(exact)


def test_the_interval_holds_what_chance_does() -> None:
    """Of 300 fresh samples' intervals, 95 % hold the mean of all; candidates' part is needed."""
    whole, anchors_only = [], []
    for seed in range(300):
        x, y = pairs(200, seed)
        loss, drawn = play(lambda x, y: 0.5 * (x + 1) @ y.T, x, y)  # a poor critic, on purpose
        assert drawn.mean().item() == pytest.approx(1)
        whole.append(info_nce_bound(loss + drawn - 1, 200))
        anchors_only.append(info_nce_bound(loss, 200))
    middle = np.mean([found.nats for found in whole])
    held = [
        np.mean([found.low < middle < found.high for found in each])
        for each in (whole, anchors_only)
    ]
    assert 0.91 < held[0] < 0.98
    assert held[1] > 0.98


def test_bounds_say_what_is_wrong() -> None:
    with pytest.raises(NearfarError, match="candidates=1: wanted 2 or more"):
        info_nce_bound(1.0, 1)
    with pytest.raises(NearfarError, match=r"loss has shape \(2, 2\)"):
        info_nce_bound(torch.zeros(2, 2), 4)
    with pytest.raises(NearfarError, match="estimate is nan"):
        info_nce_bound(math.nan, 4)
    with pytest.raises(NearfarError, match="Did you mean 'marginal'"):
        info_nce_bound(1.0, 4, negatives="marginals")
    with pytest.raises(NearfarError, match=r"product \(3,\); wanted \(N,\) and \(N, M\)"):
        nwj(torch.zeros(3), torch.zeros(3))
    with pytest.raises(NearfarError, match="clip=0"):
        smile(torch.zeros(3), torch.zeros(3, 2), clip=0)


# The pieces


def test_game_is_the_loss() -> None:
    x, y = (torch.randn(50, 3, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    loss, _ = play(lambda x, y: x @ y.T, x, y)
    exact = info_nce(x, y, temperature=1.0, normalize=False, reduction="none")
    torch.testing.assert_close(loss.float(), exact)


def test_gaussian_critic_is_the_closed_form() -> None:
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(5, 5, generator=random, dtype=torch.float64)
    both = torch.randn(50_000, 5, generator=random, dtype=torch.float64) @ mix
    x, y = (side / side.std(0) for side in (both[:, :3], both[:, 3:]))
    critic = GaussianCritic.of(x, y)
    covariance = torch.cat([x, y], 1).T @ torch.cat([x, y], 1) / len(x)
    law = torch.distributions.MultivariateNormal
    zero = torch.zeros(5, dtype=torch.float64)
    at = torch.cat([x, y], 1)[:20]
    exact = (
        law(zero, covariance).log_prob(at)
        - law(zero[:3], covariance[:3, :3]).log_prob(at[:, :3])
        - law(zero[3:], covariance[3:, 3:]).log_prob(at[:, 3:])
    )
    found = critic(x[:20], y[:20]).diagonal()
    torch.testing.assert_close(found, exact, rtol=0.05, atol=0.05)  # up to its ridge
    assert critic.first(0)(x[:4], y[:3]).abs().max() == 0


def test_ranks_are_normal_scores_of_the_training_rows() -> None:
    train = torch.tensor([[0.0], [1.0], [1.0], [50.0]])
    found = Ranks.of(train)(torch.tensor([[1.0], [-9.0], [99.0], [7.0]]))
    share = torch.special.ndtr(found[:, 0])
    assert share.tolist() == pytest.approx([0.5, 0.1, 0.9, 0.7])


# The estimate


def test_correlated_gaussians() -> None:
    found = mutual_information(*pairs(2000))
    assert TRUTH - 0.06 < found.nats < TRUTH + 0.06
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.nats < found.high
    assert found.ceiling == pytest.approx(math.log(1000))
    assert not found.saturated
    assert found.name == "InfoNCE: a lower bound on the mutual information"


def test_margins_do_not_matter_and_numpy_is_welcome() -> None:
    x, y = pairs(200)
    first = mutual_information(x, y, seed=3)
    again = mutual_information(x.exp().numpy(), (y**3).numpy()[:, 0], seed=3)
    assert again == first
    assert mutual_information(x, y, seed=4) != first


def test_the_network_finds_what_no_correlation_shows() -> None:
    """y = |x| + noise: the Gaussian copula alone sees nothing."""
    x, noise = pairs(800, rho=0)
    y = x.abs() + 0.3 * noise
    assert abs(torch.corrcoef(torch.cat([x, y], 1).T)[0, 1]) < 0.1
    for critic in ("copula", "plain"):
        assert mutual_information(x, y, critic=critic).nats > 0.3


def test_independent_columns_share_nothing() -> None:
    x, y = (torch.randn(1000, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    assert abs(mutual_information(x, y).nats) < 0.02


def test_the_test_pairs_teach_nothing() -> None:
    x, y = pairs(500)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    other = y.clone()
    other[order[sum(split_sizes(500)[:2]) :]] = 7.0
    seen: list[list[tuple[int, float]]] = [[], []]
    found = [
        mutual_information(x, of, callback=lambda *step, to=to: to.append(step))
        for of, to in zip((y, other), seen, strict=True)
    ]
    assert seen[0] == seen[1] != []
    assert found[1].nats < 0.1 < found[0].nats


def test_pairs_say_what_is_wrong() -> None:
    x = torch.zeros(200, 2)
    with pytest.raises(NearfarError, match="x has 200 rows and y has 199"):
        mutual_information(x, x[1:])
    with pytest.raises(NearfarError, match="wanted the same number, 200 or more"):
        mutual_information(x[:199], x[:199])
    x[7, 1] = math.nan
    with pytest.raises(NearfarError, match="y has a NaN or infinity in row 7"):
        mutual_information(torch.zeros(200), x)
    with pytest.raises(NearfarError, match=r"x has shape \(4, 3, 2\)"):
        mutual_information(torch.zeros(4, 3, 2), x)
    with pytest.raises(NearfarError, match="critic='gaussian': wanted one of copula, plain"):
        mutual_information(x, x, critic="gaussian")


def test_constant_and_repeated_columns() -> None:
    x, y = pairs(200)
    found = mutual_information(torch.cat([x, x, torch.ones_like(x)], 1), y)
    assert TRUTH - 0.2 < found.nats < TRUTH + 0.15


# The command


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    names = [str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    for name, side in zip(names, pairs(400), strict=True):
        np.save(name, side.numpy())
    return names


def test_command(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mi", *files, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    exact = mutual_information(*(np.load(file) for file in files))
    assert said["nats"] == exact.nats
    assert said["bits"] == exact.bits
    assert said["pairs"] == {"train": 168, "validation": 32, "test": 200}
    assert main(["mi", *files]) == 0
    text = capsys.readouterr().out
    for words in (f"{exact.nats:.3f}", f"{exact.bits:.3f}", "5.298", "200 to test"):
        assert words in text
    assert "saturated" not in text
    same = files[0].replace("x.npy", "same.npy")
    np.save(same, np.random.default_rng(0).normal(size=(200, 8)))
    assert main(["mi", same, same]) == 0
    assert "saturated" in capsys.readouterr().out


def test_command_says_what_is_wrong(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, words = str(tmp_path / "short.npy"), str(tmp_path / "words.npy")
    np.save(short, np.zeros((399, 1)))
    np.save(words, np.array(["a"] * 400))
    text = tmp_path / "text.npy"
    text.write_text("1 2 3")
    for second, said in (
        (short, "x has 400 rows and y has 399"),
        (words, "holds <U1; wanted one array of real numbers"),
        (str(text), "wanted a file that numpy.save wrote"),
        ("nowhere.npy", "nowhere.npy: No such file or directory"),
    ):
        assert main(["mi", files[0], second]) == 1
        assert said in capsys.readouterr().err


def test_what_is_known_exactly_is_found_even_where_a_row_is_at_the_origin() -> None:
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(4))
    # The median of the training rows becomes zero, whose logarithm no network has seen.
    assert mutual_information(x, x, seed=4).nats > 3
