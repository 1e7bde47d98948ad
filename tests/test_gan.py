"""Two players: the game by hand, penalties, averages, modes, fidelity, and trainings."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

import nearfar
from nearfar import NearfarError, info_nce
from nearfar.cli import main
from nearfar.cli._rebuild import rebuilt
from nearfar.encoders import PictureCritic, PictureGenerator, PointGenerator, PointMLP
from nearfar.experiment import Experiment, Train
from nearfar.loss import Temperature
from nearfar.pairs import seeded
from nearfar.pairs.points import FAKE, REAL, PointReader, StackReader, mixture, stacked_digits
from nearfar.probes import (
    FidelityProbe,
    ModeProbe,
    frechet_distance,
    nearest_centre,
    precision_recall,
    stacked_classifier,
)
from nearfar.recipes import build, find
from nearfar.recipes._gan_data import find as find_data
from nearfar.recipes._gan_players import Player
from nearfar.recipes._gan_rival import GeneratorRival, RealGame, Referee, log_odds
from nearfar.recipes.gan import load_generator, samples
from nearfar.train import Run, fit

CPU = torch.device("cpu")
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def ring() -> Experiment:
    """The recipe on the ring, narrow; its strengths are counted on below."""
    settings = {"path": "ring", "width": 32, "dim": 8, "temperature": 0.1, "penalty": 0.2}
    return build(find("gan"), settings, seed=0)


# The game.


def test_the_game_is_info_nce_with_many_partners() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(6, 5), torch.randn(6, 5)
    ids = torch.tensor([REAL] * 3 + [FAKE] * 3)
    own = (ids[:, None] == ids).float()
    each = info_nce(query, key, temperature=0.3, weight=own, form="in", reduction="none")
    wanted = each[:3].mean() - np.log(3)
    got = RealGame(Temperature(0.3))(query, key, ids=ids)
    torch.testing.assert_close(got, wanted)


def test_with_one_of_each_it_is_the_relativistic_pairing() -> None:
    query, own, other = torch.randn(3, 4, 1, 7)
    unit = [nn.functional.normalize(x, dim=-1) for x in (query, own, other)]
    margin = (unit[0] * (unit[1] - unit[2])).sum(-1) / 0.5
    torch.testing.assert_close(log_odds(query, own, other, 0.5), margin)


def test_reals_never_push_reals(ring: Experiment) -> None:
    batch = ring.pairs.draw(torch.arange(4), CPU)
    key = ring.model(batch.key).detach().requires_grad_()
    query = ring.model(batch.query).detach()
    ring.objective(query, key, ids=batch.ids).backward()
    assert key.grad is not None
    unit = nn.functional.normalize(query[:4], dim=1).sum(0)
    # A step down the loss moves every real key towards the real queries, and every fake away.
    along = -(key.grad @ unit)
    assert (along[:4] > 0).all()
    assert (along[4:] < 0).all()


def test_the_generator_wants_the_opposite(ring: Experiment) -> None:
    torch.manual_seed(0)
    rival = ring.rival
    assert isinstance(rival, GeneratorRival)
    batch = ring.pairs.draw(torch.arange(32), CPU)
    before = [p.detach().clone() for p in ring.model.parameters()]
    step = torch.optim.SGD(rival.player.generator.parameters(), lr=0.05)
    losses = []
    for _ in range(30):
        step.zero_grad()
        with seeded(1):
            rival(ring.model, batch).backward()
        with seeded(1), torch.no_grad():
            fake = ring.model.reader.prepare(rival.player.generator.draw(32))
            key = torch.cat([batch.key[:32], fake])
            losses.append(ring.objective(ring.model(batch.query), ring.model(key), ids=batch.ids))
        step.step()
    assert losses[-1] > losses[0]  # the discriminator's loss rises
    assert all(torch.equal(a, b) for a, b in zip(before, ring.model.parameters(), strict=True))


def test_the_game_is_in_full_precision(ring: Experiment) -> None:
    assert ring.rival is not None
    batch, losses = ring.pairs.draw(torch.arange(8), CPU), []
    for enabled in (False, True):
        with seeded(0), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            vectors = ring.model.encoder(batch.query)
            referee = ring.auxiliaries["referee"](ring.model, batch, vectors)
            losses.append((ring.rival(ring.model, batch).item(), referee.item()))
    assert losses[0] == losses[1]


def test_a_batch_has_two_kinds_and_other_partners(ring: Experiment) -> None:
    rows = torch.arange(50)
    with seeded(0):
        batch = ring.pairs.draw(rows, CPU)
    with seeded(0):
        again = ring.pairs.draw(rows, CPU)
    assert batch.ids.tolist() == [REAL] * 50 + [FAKE] * 50
    assert torch.equal(batch.query, again.query)
    assert torch.equal(batch.key, again.key)
    scale = mixture("ring").scale
    torch.testing.assert_close(batch.query[0] * scale, torch.from_numpy(ring.inputs[0]))
    assert not (batch.query == batch.key).all(1).any()
    assert batch.query.grad_fn is None
    with seeded(1):
        assert not torch.equal(batch.query[50:], ring.pairs.draw(rows, CPU).query[50:])


def test_slopes_are_those_of_finite_differences(ring: Experiment) -> None:
    referee = ring.auxiliaries["referee"]
    assert isinstance(referee, Referee)
    assert isinstance(ring.model.encoder, PointMLP)
    batch = ring.pairs.draw(torch.arange(3), CPU)
    slopes = referee.slopes(ring.model, batch)
    assert slopes.shape == (6, 2)
    assert slopes.grad_fn is not None
    body = deepcopy(ring.model.encoder.body).double()

    def odds(key: torch.Tensor) -> float:
        seen = nn.functional.normalize(body(key), dim=1)
        query = nn.functional.normalize(body(batch.query[:3].double()), dim=1)
        own, other = (query @ x.T / 0.1 for x in (seen[:3], seen[3:]))
        return (own.logsumexp(1) - other.logsumexp(1)).sum().item()

    key, step = batch.key.double(), 1e-6
    for row, column in ((0, 0), (2, 1), (4, 0), (5, 1)):
        up, down = key.clone(), key.clone()
        up[row, column] += step
        down[row, column] -= step
        wanted = (odds(up) - odds(down)) / (2 * step)
        assert slopes[row, column].item() == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_the_plain_gan_is_apart(ring: Experiment) -> None:
    rival, referee = ring.rival, ring.auxiliaries["referee"]
    assert isinstance(rival, GeneratorRival)
    assert isinstance(referee, Referee)
    assert rival.opponent is not None
    assert referee.plain is not None
    batch = ring.pairs.draw(torch.arange(8), CPU)
    loss = referee(ring.model, batch, ring.model.encoder(batch.query))
    penalty = 0.2 * referee.slopes(ring.model, batch).square().sum(1).mean()
    assert loss.item() == pytest.approx(penalty.item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in referee.plain.parameters())
    assert all(p.grad is None for p in rival.parameters())
    own = {id(p) for p in ring.model.parameters()} | {id(p) for p in referee.parameters()}
    assert not own & {id(p) for p in rival.parameters()}
    # One step of cross-entropy, by hand.
    body = referee.plain.body
    with seeded(0):
        got = referee.plain.loss(batch.query[:8], ring.model.reader.prepare)
    with seeded(0):
        fake = ring.model.reader.prepare(rival.opponent.generator.draw(8))
    logits = torch.cat([body(batch.query[:8]), body(fake)])[:, 0]
    truth = torch.tensor([1.0] * 8 + [0.0] * 8)
    wanted = 2 * nn.functional.binary_cross_entropy_with_logits(logits, truth)
    torch.testing.assert_close(got, wanted)


# Players and networks.


def test_the_average_follows_and_sketches_stay() -> None:
    player = Player(PointGenerator(width=8), shown=5, keep=0.9)
    first = player.history()[0]
    with torch.no_grad():
        for parameter in player.generator.parameters():
            parameter.fill_(1.0)
    start = [p.clone() for p in player.average.parameters()]
    player.moved()
    # The first share kept is 2 / 11.
    for before, now in zip(start, player.average.parameters(), strict=True):
        torch.testing.assert_close(now, 2 / 11 * before + 9 / 11)
    for _ in range(150):
        player.moved()
    history = player.history()
    assert list(history) == [0, 100, 151]
    assert torch.equal(history[0], first)
    assert not torch.equal(history[100], history[0])
    other = Player(PointGenerator(width=8), shown=5)
    other.load_state_dict(player.state_dict())
    assert torch.equal(other.history()[100], history[100])


def test_generators_are_kept(tmp_path: Path) -> None:
    for generator in (PointGenerator(width=8, scale=2.0), PictureGenerator(8, 4, 6)):
        player = Player(generator, shown=2)
        player.save(tmp_path / "g")
        loaded = load_generator(tmp_path / "g")
        assert type(loaded) is type(generator)
        np.testing.assert_array_equal(samples(loaded, 5), player.sample(5))
        assert not np.array_equal(samples(loaded, 5), samples(loaded, 5, seed=1))
    with pytest.raises(NearfarError, match="holds no generator"):
        load_generator(tmp_path)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_pictures_have_their_size(size: int) -> None:
    made = PictureGenerator(size, width=4).draw(3)
    assert made.shape == (3, 3, size, size)
    assert 0 <= made.min() <= made.max() <= 1
    assert PictureCritic(size, width=4, dim=7)(made).shape == (3, 7)
    for kind in (PictureCritic, PictureGenerator):
        with pytest.raises(NearfarError, match="size=12"):
            kind(12)


# Data and judges.


def test_mixtures_and_points(tmp_path: Path) -> None:
    for name, modes, deviation in (("ring", 8, 0.01), ("grid", 25, 0.05)):
        source = mixture(name)
        points, mode = source.points(5000, seed=0)
        away = points - source.centres[mode]
        assert len(source.centres) == modes
        assert away.std() == pytest.approx(deviation, rel=0.05)
        assert (points / source.scale).std() == pytest.approx(1, rel=0.05)
    reader = PointReader()
    assert len(reader.find("grid").names) == 1000
    np.save(tmp_path / "a.npy", np.array([[0, 1], [np.nan, 2], [3, 4]]))
    (tmp_path / "b.csv").write_text("0,1\n3,4\n")
    found = reader.find(str(tmp_path / "a.npy"))
    assert found.names == ["a.npy:0", "a.npy:2"]
    assert "point 1" in found.skipped["a.npy:1"]
    assert reader.read(reader.find(str(tmp_path / "b.csv")).items).tolist() == [[0, 1], [3, 4]]
    assert reader.read(["0.5,-1"]).tolist() == [[0.5, -1]]
    (tmp_path / "c.csv").write_text("a,b\n")
    np.save(tmp_path / "d.npy", np.zeros((3, 3)))
    for bad in ("c.csv", "d.npy", "none.npy"):
        with pytest.raises(NearfarError, match="Wanted ring, grid"):
            reader.find(str(tmp_path / bad))
    with pytest.raises(NearfarError, match="is no point"):
        reader.read(["1,2,3"])


def test_modes_are_counted() -> None:
    centres = np.array([[0.0, 0], [1, 0], [2, 0], [3, 0]], np.float32)
    points = np.array([[0, 0]] * 4 + [[1, 0.29]] * 2 + [[2, 0.31]] * 2, np.float32)
    probe = ModeProbe(
        samplers={"learned": lambda number: points},
        real=lambda number: np.repeat(centres, 2, 0),
        naming=nearest_centre(centres, 0.1),
        modes=4,
        number=8,
        quality="near",
    )
    scores = probe.score({})
    share = np.array([0.5, 0.25, 0.25])
    assert scores.rows["learned"] == pytest.approx(
        {
            "modes": 0.5,
            "quality": 0.75,
            "evenness": -(share * np.log(4 * share)).sum(),
            "rarest": 0.0,
        }
    )
    assert "1.000, 1.000, -0.000, 1.000" in scores.note
    broken = ModeProbe(
        samplers={"learned": lambda number: np.full((8, 2), np.nan, np.float32)},
        real=probe.real,
        naming=probe.naming,
        modes=4,
        number=8,
        quality="near",
    )
    with pytest.raises(NearfarError, match="not finite"):
        broken.score({})


def test_stacks_are_read() -> None:
    stacks = stacked_digits(200, seed=3)
    naming = stacked_classifier(stacks.singles, stacks.numbers)
    mode, good = naming((stacks.pixels.numpy() / 255).astype(np.float32))
    assert (mode == stacks.modes.numpy()).mean() > 0.95
    assert good.mean() > 0.95
    found = StackReader().find("stacked_digits")
    assert found.labels is not None
    assert found.labels[5] == f"digit {found.names[5][6]}"
    assert StackReader().read(found.items[:3]).shape == (3, 3, 8, 8)
    noise = np.random.default_rng(0).random((50, 3, 8, 8), np.float32)
    assert not naming(noise)[1].any()


def test_fidelity() -> None:
    draw = np.random.default_rng(0)
    real = draw.normal(size=(400, 3))
    made = draw.normal(size=(400, 3)) * [1, 1, 2] + [0, 3, 0]
    # Of Gaussians with these means and deviations: 3^2 + (2 - 1)^2.
    assert frechet_distance(real, made) == pytest.approx(10, rel=0.15)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    both = np.concatenate([real, real + np.array([50, 0, 0])])
    precision, recall = precision_recall(both, real + 1e-6)
    assert precision == 1
    assert recall == pytest.approx(0.5, abs=0.01)
    assert precision_recall(real, real + 50) == (0, 0)


# Trainings.

SMALL = ["--width", "32", "--dim", "8", "--precision", "32-true"]


def test_a_killed_run_ends_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Train(steps=24, precision="32-true", warmup=0.0, checkpoint_seconds=0.0)

    def training(out: str) -> tuple[Run, Experiment]:
        experiment = build(find("gan"), {"path": "ring", "width": 16, "dim": 8}, seed=0)
        run = Run(tmp_path / out)
        run.begin({"recipe": "gan"}, fresh=False)
        return run, experiment

    run, whole = training("whole")
    fit(whole, train, run)
    run, part = training("part")

    assert isinstance(part.rival, GeneratorRival)
    player = part.rival.player
    moved = part.rival.moved

    def stop() -> None:
        moved()
        if player.moves == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(part.rival, "moved", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(part, train, run)
    run, part = training("part")
    assert fit(part, train, run).resumed == 10
    assert whole.rival is not None
    assert part.rival is not None
    for a, b in ((whole.model, part.model), (whole.rival, part.rival)):
        for name, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[name]), name


def test_it_learns_the_ring(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "run"
    words = ["train", "gan", "ring", "--out", str(out), "--steps", "150", "--lr", "0.003"]
    assert main([*words, *SMALL]) == 0
    rows = json.loads((out / "scores.json").read_text())["rows"]
    assert set(rows) == {"learned", "untrained", "plain GAN"}
    assert rows["learned"]["modes"] > rows["untrained"]["modes"]
    assert rows["learned"]["evenness"] > rows["untrained"]["evenness"] + 0.5
    page = (out / "report.html").read_text()
    assert "Samples over time: contrastive GAN" in page
    assert "Samples over time: plain GAN" in page
    # The saved generators are judged anew.
    capsys.readouterr()
    assert main(["evaluate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == rows
    # What is audited plays against the trained generator.
    again = rebuilt(Run(out))[0].rival
    assert isinstance(again, GeneratorRival)
    saved = load_generator(out / "model" / "contrastive_GAN")
    np.testing.assert_array_equal(again.player.sample(5), samples(saved, 5))
    # The discriminator embeds points.
    assert nearfar.load(out).embed([(0.1, 0.2)]).shape == (1, 8)
    assert main(["evaluate", str(out), "ring"]) == 0
    assert "8 classes" in capsys.readouterr().out
    weights = load_file(out / "model" / "model.safetensors")
    assert all(name.startswith("encoder") for name in weights)


def test_pictures_in_a_folder(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(60):
        colour = draw.integers(-20, 20, 3) + np.array([40, 80, 200])
        Image.fromarray(np.broadcast_to(colour, (12, 12, 3)).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "run"
    words = ["train", "gan", str(folder), "--size", "8", "--width", "4", "--steps", "60"]
    words += ["--lr", "0.005"]
    assert main([*words, "--out", str(out), "--batch_size", "16", "--precision", "32-true"]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["rows"]["learned"]["frechet"] > scores["rows"]["untrained"]["frechet"]
    assert "principal components" in scores["note"]
    assert "broken.png" in (out / "skipped.txt").read_text()


def test_real_training_pictures_are_of_every_folder(tmp_path: Path) -> None:
    for grey, name in enumerate("abcde"):
        (tmp_path / name).mkdir()
        for number in range(12):
            picture = np.full((8, 8, 3), 50 * grey + number, np.uint8)
            Image.fromarray(picture).save(tmp_path / name / f"{number}.png")
    probe = find_data(str(tmp_path), 8).probe({})
    assert isinstance(probe, FidelityProbe)
    assert len(probe.trained) == len(probe.real) == 12
    assert set((probe.trained[:, 0, 0, 0] * 255).round().astype(int) // 50) == {0, 1, 2, 3, 4}


def test_without_an_opponent_and_with_bad_words(tmp_path: Path, capsys: Capture) -> None:
    alone = build(find("gan"), {"path": "ring", "width": 8, "opponent": False}, seed=0)
    assert isinstance(alone.rival, GeneratorRival)
    assert list(alone.rival.players) == ["contrastive GAN"]
    assert set(alone.rival.samplers()) == {"learned", "untrained"}
    for words, message in (
        (["rings"], "there is no such folder"),
        (["ring", "--penalty", "-1"], "penalty=-1"),
        (["ring", "--size", "32"], "size=32"),
        (["ring", "--devices", "2"], "devices=2"),
    ):
        assert main(["train", "gan", *words, "--out", str(tmp_path / "bad")]) != 0
        assert message in capsys.readouterr().err
