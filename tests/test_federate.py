"""Federation: who holds what, what leaves a client, and what the server makes of it."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

import nearfar
from nearfar import NearfarError, Temperature, info_nce
from nearfar.cli import main
from nearfar.encoders import ProjectionHead, ResNet
from nearfar.experiment import Experiment
from nearfar.federate import (
    Answer,
    Ask,
    BankGame,
    Client,
    Crowd,
    Federation,
    GroupNormed,
    Hello,
    Part,
    Server,
    Shared,
    SharedBank,
    Split,
    Task,
    average,
    deal,
    model_of,
    noise_for,
    release,
    spent,
)
from nearfar.federate._line import Reply
from nearfar.loss import NTXentLoss
from nearfar.model import Model, describe
from nearfar.pairs import Batch, ImageReader, PicturePairs, seeded, simclr_views
from nearfar.probes import knn
from nearfar.train import Run

CPU = torch.device("cpu")
slow = pytest.mark.skipif(not os.environ.get("NEARFAR_SLOW"), reason="minutes: NEARFAR_SLOW=1")


def small(seed: int = 0, items: int = 24) -> Experiment:
    """A tiny experiment on blobs of colour: item i is of label i % 4."""
    rng = np.random.default_rng(0)
    colour = rng.uniform(40, 215, (4, 3, 1, 1))
    pixels = colour[np.arange(items) % 4] + rng.normal(0, 20, (items, 3, 16, 16))
    pictures = torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))
    reader, tau = ImageReader(16), Temperature(0.2)
    with seeded(seed):
        network = ResNet([8, 8])
        model = Model(reader, network, ProjectionHead(8, 16, 8))
    names = [str(row) for row in range(items)]
    return Experiment(
        model=model,
        pairs=PicturePairs(pictures, simclr_views(16, crop=0.5), reader, names),
        objective=NTXentLoss(tau),
        temperature=tau,
        inputs=list(pictures.permute(0, 2, 3, 1).numpy()),
        labels=[str(row % 4) for row in range(items)],
    )


def settings(**more: Any) -> Federation:
    plain: dict[str, Any] = {"rounds": 3, "local_steps": 2, "batch_size": 4, "contribution": 3}
    return Federation(**{**plain, "wait": 0.0, **more})


class Wire:
    """A line without Flower, on which replies can be lost, late or out of order."""

    def __init__(self, clients: Mapping[int, Client], back_to_front: bool = False) -> None:
        self.clients, self.back_to_front = dict(clients), back_to_front
        self.heard: list[tuple[int, Any]] = []
        self.away: set[int] = set()
        self.slow: set[int] = set()
        self._ready: list[Reply] = []
        self._late: list[Reply] = []

    def nodes(self) -> list[int]:
        here = sorted(self.clients)
        return here[::-1] if self.back_to_front else here

    def send(self, words: Mapping[int, Ask | Task | None]) -> None:
        for node, one in words.items():
            self.heard.append((node, one))
            client = self.clients[node]
            if node in self.away:
                continue
            if one is None:
                said: Any = client.hello()
            else:
                said = client.share(one) if isinstance(one, Ask) else client.play(one)
            (self._late if node in self.slow else self._ready).append(Reply(node, said))

    def collect(self, awaited: Sequence[int], seconds: float) -> list[Reply]:
        out, self._ready = self._ready, []
        if not self.slow:
            out, self._late = out + self._late, []
        return out[::-1] if self.back_to_front else out

    def tasks(self) -> list[tuple[int, Task]]:
        return [(node, one) for node, one in self.heard if isinstance(one, Task)]


def wire(federation: Federation, clients: int = 3, **more: Any) -> Wire:
    rows = torch.arange(24).tensor_split(clients)
    made = {}
    for number, own in enumerate(rows, start=1):
        whole = small()
        part = replace(whole, pairs=Part(whole.pairs, own))
        made[10 * number] = Client(part, federation, owner=number)
    return Wire(made, **more)


def served(
    federation: Federation, folder: Path, line: Wire | None = None
) -> tuple[Server, Wire, list[str]]:
    said: list[str] = []
    line = line or wire(federation)
    folder.mkdir(exist_ok=True)
    server = Server(federation, Run(folder), line, said.append)
    server.play()
    return server, line, said


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("split", ["iid", "label-skew", "dirichlet"])
def test_everything_is_dealt_out_once(split: Any) -> None:
    labels = [str(row % 4) for row in range(80)]
    parts = deal(Split(clients=4, split=split, classes=2, alpha=2.0), 80, labels, 0)
    assert sorted(np.concatenate(parts)) == list(range(80))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            parts, deal(Split(clients=4, split=split, alpha=2.0), 80, labels, 0), strict=True
        )
    )
    if split == "label-skew":
        assert [len({labels[row] for row in part}) for part in parts] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("split", "labels", "said"),
    [
        (Split(clients=3, split="label-skew"), None, "goes by labels, and the data have none"),
        (Split(clients=2, split="label-skew", classes=1), list("aabbcc"), "clients x classes 3"),
        (Split(clients=4), None, "a client would hold 1 of the 6 items"),
    ],
)
def test_what_cannot_be_dealt(split: Split, labels: list[str] | None, said: str) -> None:
    with pytest.raises(NearfarError, match=said):
        deal(split, 6, labels, 0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rounds": 0}, "rounds=0: wanted 1 or more"),
        ({"weight": -0.3}, "weight=-0.3: wanted 0 or more"),
        ({"seed": -1}, "seed=-1: wanted 0 or more"),
        ({"fade": 0.0}, "0 < fade <= 1"),
        ({"epsilon": -1.0}, "epsilon=-1.0: wanted a positive number"),
        ({"epsilon": 8.0, "share": "nothing"}, "Wanted --share sums"),
        ({"lr": 0.0}, "lr=0.0"),
    ],
)
def test_settings_that_do_not_fit(given: dict[str, Any], said: str) -> None:
    with pytest.raises(NearfarError, match=said):
        Federation(**given)


def test_a_part_draws_its_own_rows_only() -> None:
    pairs = small().pairs
    part = Part(pairs, torch.tensor([5, 9, 14]))
    assert len(part) == 3
    assert part.names(torch.tensor([2, 0])) == ["14", "5"]
    assert part.draw(torch.tensor([1, 2]), CPU).ids.tolist() == [9, 14]
    assert part.fingerprint != Part(pairs, torch.tensor([5, 9, 15])).fingerprint


def test_the_bank_is_bounded_and_keeps_the_newest() -> None:
    bank = SharedBank(size=4, each=2)
    eye = torch.eye(6)
    bank.receive(1, 5 * eye[:3], number=0)  # the last two of three
    bank.receive(2, eye[3:4], number=1)
    assert bank.owner.tolist() == [1, 1, 2]
    assert torch.equal(bank.keys, eye[1:4])
    bank.receive(1, eye[4:5], number=2)  # its oldest leaves
    assert bank.keys.argmax(1).tolist() == [2, 3, 4]
    bank.receive(3, eye[[0, 5]], number=1)  # late: older than client 1's last, and the bank is full
    assert bank.round.tolist() == [1, 1, 1, 2]
    assert sorted(bank.owner.tolist()) == [1, 2, 3, 3]


def test_nobody_meets_its_own_entries_nor_old_ones() -> None:
    bank = SharedBank(size=9, each=3)
    for owner in (1, 2, 3):
        bank.receive(owner, torch.eye(3)[owner - 1 : owner], number=owner)
    crowd = bank.crowd(owner=2, number=3, max_age=8)
    assert crowd.keys.argmax(1).tolist() == [0, 2]
    assert crowd.age.tolist() == [2, 0]
    assert len(bank.crowd(owner=2, number=3, max_age=1)) == 1
    assert not hasattr(crowd, "owner")


def test_what_is_no_vector_stays_out_of_the_bank() -> None:
    bank = SharedBank(size=9, each=9)
    bank.receive(1, torch.tensor([[1.0, 0.0], [math.nan, 0.0], [0.0, 0.0]]), number=0)
    assert len(bank) == 1
    with pytest.raises(NearfarError, match="keys has width 3; wanted 2"):
        bank.receive(2, torch.eye(3), number=0)


def test_the_average_by_hand_in_any_order() -> None:
    states = [
        (2, 1.0, {"w": torch.tensor([5.0]), "n": torch.tensor(7)}),
        (1, 3.0, {"w": torch.tensor([1.0]), "n": torch.tensor(4)}),
    ]
    found = average(states)
    assert found["w"].tolist() == [2.0]
    assert found["n"].item() == 7
    torch.manual_seed(0)
    many = [(node, 1.0, {"w": torch.randn(50)}) for node in range(9)]
    assert same(average(many), average(many[::-1]))
    with pytest.raises(NearfarError, match="client 3 have other names or shapes"):
        average([*states, (3, 1.0, {"w": torch.zeros(2), "n": torch.tensor(1)})])


def test_running_statistics_are_those_of_all_items() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(40) + 3, 2 * torch.randn(20)
    both = torch.cat([a, b])
    states = [
        (
            node,
            float(len(x)),
            {"n.running_mean": x.mean()[None], "n.running_var": x.var(correction=0)[None]},
        )
        for node, x in enumerate((a, b))
    ]
    found = average(states)
    torch.testing.assert_close(found["n.running_mean"], both.mean()[None])
    torch.testing.assert_close(found["n.running_var"], both.var(correction=0)[None])


@pytest.mark.parametrize("fade", [1.0, 0.5])
def test_the_game_against_the_bank_by_hand(fade: float) -> None:
    experiment = small()
    torch.manual_seed(1)
    crowd = Crowd(functional.normalize(torch.randn(5, 8)), torch.tensor([0, 1, 1, 2, 3]))
    federation = settings(fade=fade, weight=0.7)
    game = BankGame(experiment.model, experiment.temperature, crowd, federation)
    with torch.no_grad():
        for parameter in experiment.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = experiment.pairs.draw(torch.arange(4), CPU)
    vectors = experiment.model.encoder(batch.query)
    loss = game(experiment.model, batch, vectors)
    assert game.weight == 0.7

    assert experiment.model.head is not None
    query = functional.normalize(experiment.model.head(vectors))
    key = functional.normalize(game._made(batch.key))
    own, more = query @ key.T / 0.2, query @ crowd.keys.T / 0.2 + crowd.age * math.log(fade)
    every = torch.cat([own, more], 1)
    torch.testing.assert_close(loss, (every.logsumexp(1) - own.diagonal()).mean())
    loss.backward()
    assert all(parameter.grad is None for parameter in game.parameters())
    assert any(p.grad is not None and p.grad.any() for p in experiment.model.parameters())


def test_sums_hold_every_item_once_and_noise_is_nobodys() -> None:
    class Given(torch.nn.Module):
        head = None
        encoder = type("E", (), {"dim": 40})()

        def forward(self, x: Tensor) -> Tensor:
            return torch.eye(40)[x]

    class Rows:
        fingerprint, alone = "", "key"

        def __len__(self) -> int:
            return 40

        def draw(self, rows: Tensor, device: torch.device) -> Batch:
            return Batch(rows, rows, rows)

        def names(self, rows: Tensor) -> list[str]:
            return []

    def shared(share: Any, count: int, noise: float = 0.0) -> Tensor:
        with seeded(0):
            return release(
                Given(),
                Rows(),
                share,
                count=count,
                group=8,
                noise=noise,
                device=CPU,  # type: ignore[arg-type]
            )

    sums = shared("sums", 9)
    assert sums.shape == (5, 40)  # 40 items make 5 sums of 8, however many are asked for
    assert (sums > 0).sum(0).tolist() == [1] * 40
    torch.testing.assert_close(sums.max(), torch.tensor(8**-0.5))
    assert len(shared("sums", 2)) == 2
    keys = shared("keys", 7)
    assert len(set(keys.argmax(1).tolist())) == 7
    noisy, again = shared("sums", 5, 1.0), shared("sums", 5, 1.0)
    assert not torch.equal(noisy, again)
    torch.testing.assert_close(noisy.norm(dim=1), torch.ones(5))


@pytest.mark.parametrize("positives", ["read", "contig", "genome"])
def test_with_noise_a_view_shows_its_item_alone(tmp_path: Path, positives: Any) -> None:
    pytest.importorskip("dnaio")
    from nearfar.pairs.dna import ReadPairs, Reads, ReadViews

    # A read's number is how many A's it begins with.
    for file, (one, other) in {"x": "AC", "y": "TG"}.items():
        reads = [one * number + other * (40 - number) for number in range(1, 21)]
        lines = [f">{file}{number}\n{read}\n" for number, read in enumerate(reads)]
        (tmp_path / f"{file}.fa").write_text("".join(lines))
    pairs = ReadPairs(Reads(tmp_path), ReadViews("none", 0, 0), positives, shortest=40, longest=40)
    seen: list[tuple[int, ...]] = []

    class Watching(torch.nn.Module):
        head, encoder = None, type("E", (), {"dim": 4})()

        def forward(self, x: Tensor) -> Tensor:
            seen.extend(tuple(row) for row in x.tolist())
            return torch.ones(len(x), 4)

    def shared(noise: float) -> int:
        seen.clear()
        with seeded(0):
            release(
                Watching(),  # type: ignore[arg-type]
                Part(pairs, torch.arange(0, 40, 2)),
                "keys",
                count=20,
                group=1,
                noise=noise,
                device=CPU,
            )
        return len(set(seen))

    assert shared(1.0) == 20
    assert (shared(0.0) == 20) == (positives != "genome")


def test_no_epsilon_where_a_view_shows_other_items() -> None:
    from nearfar.pairs.graphs import Graph, GraphPairs, Positives

    links = torch.stack([torch.arange(7), torch.arange(1, 8)])
    graph = Graph(names=list("abcdefgh"), x=torch.eye(8), edges=links)
    pairs = GraphPairs(graph, graph.x, Positives(graph), edge_drop=0, feature_mask=0, hops=1)
    experiment = replace(small(), pairs=Part(pairs, torch.arange(4)))
    assert Client(experiment, settings(), owner=1).hello().items == 4
    with pytest.raises(NearfarError, match=r"epsilon=8.0 counts on .* Wanted pairs that do"):
        Client(experiment, settings(epsilon=8.0), owner=1)


def test_a_client_with_few_items_shares_no_sum() -> None:
    federation = settings(share="sums", group=50)
    client = wire(federation).clients[10]
    shared = client.share(Ask(0, client.hello().weights, 0.0))
    assert shared.keys.shape == (0, 8)


def test_the_ledger_agrees_with_the_analytic_gaussian() -> None:
    pytest.importorskip("dp_accounting")
    for epsilon, sigma in ((1.0, 7.46), (8.0, 1.20)):
        assert noise_for(epsilon, 1e-5, 1) == pytest.approx(sigma, abs=0.006)
    noise = noise_for(8.0, 1e-5, 4)
    assert noise == pytest.approx(2 * noise_for(8.0, 1e-5, 1), rel=1e-3)  # sqrt(4) releases
    assert spent(noise, 1e-5, 4) == pytest.approx(8.0, rel=1e-3)
    assert 0 < spent(noise, 1e-5, 1) < 8.0
    assert spent(noise, 1e-5, 0) == 0.0
    assert spent(0.0, 1e-5, 1) == math.inf


def test_a_round_by_hand(tmp_path: Path) -> None:
    federation = settings(rounds=1)
    server, line, _ = served(federation, tmp_path / "run")
    again = wire(federation)
    first = again.clients[10].hello().weights
    answers = []
    for node, task in line.tasks():
        assert same(task.weights, first)
        assert task.anchor is None
        assert task.crowd.age.tolist() == [0] * 6
        others = server.bank.keys[server.bank.owner != node // 10]
        assert torch.equal(task.crowd.keys, others)
        answers.append(again.clients[node].play(task))
    assert same(server.weights, average([(a.owner, a.items, a.weights) for a in answers]))
    assert server.bank.owner.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert set(answers[0].measures) >= {"loss", "bank", "top1"}


def test_the_anchor_is_what_made_the_bank(tmp_path: Path) -> None:
    _, line, _ = served(settings(rounds=4, sync=2), tmp_path / "run")
    by_round: dict[int, Task] = {task.number: task for _, task in line.tasks()}
    assert by_round[0].anchor is None
    assert by_round[2].anchor is None
    for late in (1, 3):
        anchor = by_round[late].anchor
        assert anchor is not None
        assert same(anchor, by_round[late - 1].weights)
        assert set(by_round[late].crowd.age.tolist()) == {1}


def test_nothing_is_shared_where_nothing_is_wanted(tmp_path: Path) -> None:
    server, line, _ = served(settings(share="nothing"), tmp_path / "run")
    assert not [one for _, one in line.heard if isinstance(one, Ask)]
    assert len(server.bank) == 0
    assert all(len(task.crowd) == 0 for _, task in line.tasks())
    assert server.releases == {}


def test_the_order_of_replies_changes_nothing(tmp_path: Path) -> None:
    federation = settings()
    a, _, _ = served(federation, tmp_path / "a")
    b, _, _ = served(federation, tmp_path / "b", wire(federation, back_to_front=True))
    assert same(a.weights, b.weights)
    assert torch.equal(a.bank.keys, b.bank.keys)


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("when", ["round   1", "round   2"])
def test_a_server_that_starts_again_goes_on_bit_for_bit(tmp_path: Path, when: str) -> None:
    federation = settings(sync=2)
    whole, _, _ = served(federation, tmp_path / "whole")

    def stop(line: str) -> None:
        if line.startswith(when):
            raise Stop

    (tmp_path / "run").mkdir()
    with pytest.raises(Stop):
        Server(federation, Run(tmp_path / "run"), wire(federation), stop).play()
    again, line, _ = served(federation, tmp_path / "run")
    assert len(line.tasks()) < 9
    assert same(whole.weights, again.weights)
    assert torch.equal(whole.bank.keys, again.bank.keys)
    assert whole.releases == again.releases == {1: 2, 2: 2, 3: 2}
    assert [x["round"] for x in Run(tmp_path / "run").lines()] == [1, 2, 3]


def test_who_is_away_is_left_out_and_comes_back(tmp_path: Path) -> None:
    federation = settings()
    line = wire(federation)

    def leave(said: str) -> None:
        line.away = {20} if said.startswith("round   1") else set()

    (tmp_path / "run").mkdir()
    server = Server(federation, Run(tmp_path / "run"), line, leave)
    server.play()
    assert [x["clients"] for x in Run(tmp_path / "run").lines()] == [3, 2, 3]
    assert server.round == 3
    assert server.bank.owner.tolist().count(2) == 3


def test_who_is_late_gives_entries_and_no_weights(tmp_path: Path) -> None:
    federation = settings(rounds=2)
    line = wire(federation)
    said: list[str] = []

    def linger(one: str) -> None:
        said.append(one)
        if one.startswith("client 3"):
            line.slow = {30}
        elif one.startswith("round   1"):
            assert server.bank.owner.tolist().count(3) == 0
            line.slow = set()

    (tmp_path / "run").mkdir()
    server = Server(federation, Run(tmp_path / "run"), line, linger)
    server.play()
    assert [x["clients"] for x in Run(tmp_path / "run").lines()] == [2, 3]
    assert any("1 late answer(s) dropped" in one for one in said)
    assert server.bank.owner.tolist().count(3) == 3


def test_weights_that_are_no_numbers_stay_out(tmp_path: Path) -> None:
    federation = settings(rounds=1)
    line, other = wire(federation), wire(federation)
    play = line.clients[20].play

    def broken(task: Task) -> Answer:
        answer = play(task)
        return replace(answer, weights={k: x * math.nan for k, x in answer.weights.items()})

    line.clients[20].play = broken  # type: ignore[method-assign]
    server, _, said = served(federation, tmp_path / "run", line)
    assert "round 1: 1 client(s) sent weights that do not fit; left out" in said
    answers = [other.clients[n].play(t) for n, t in line.tasks() if n != 20]
    assert same(server.weights, average([(a.owner, a.items, a.weights) for a in answers]))


def test_too_few_answers_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearfar.federate._server._PAUSE", 0.0)
    federation = settings(rounds=1, least=3)
    line = wire(federation)
    said: list[str] = []

    def watch(one: str) -> None:
        said.append(one)
        if one.startswith("client 3"):
            line.away = {30}
        elif "played again" in one:
            line.away = set()

    (tmp_path / "run").mkdir()
    Server(federation, Run(tmp_path / "run"), line, watch).play()
    assert "round 1: 2 of the 3 answers that it needs; it is played again" in said
    assert [x["clients"] for x in Run(tmp_path / "run").lines()] == [3]


def test_the_model_is_made_without_data_and_embeds(tmp_path: Path) -> None:
    server, line, _ = served(settings(), tmp_path / "run")
    model = model_of(server.model, server.weights)
    client = line.clients[10]
    client._load(server.weights)
    inputs = small().inputs
    np.testing.assert_allclose(
        model.embed(inputs), client._experiment.model.embed(inputs), atol=1e-6
    )
    model.save(tmp_path / "model")
    assert nearfar.load(tmp_path / "model").embed(inputs[:2]).shape == (2, 8)


def test_group_norms_take_the_place_of_batch_norms(tmp_path: Path) -> None:
    plain = small().model
    grouped = GroupNormed(describe(plain.encoder))
    kinds = {type(part).__name__ for part in grouped.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds
    model = Model(plain.reader, grouped)
    model.save(tmp_path / "model")
    x = small().inputs[:3]
    np.testing.assert_allclose(nearfar.load(tmp_path / "model").embed(x), model.embed(x), atol=1e-6)


def test_a_client_of_another_build_is_told() -> None:
    client = wire(settings()).clients[10]
    with pytest.raises(NearfarError, match="do not fit this client's model"):
        client.play(Task(0, {"w": torch.zeros(1)}, None, Crowd(torch.empty(0, 8), torch.empty(0))))


def test_words_survive_flower() -> None:
    pytest.importorskip("flwr")
    from nearfar.federate import _flower

    weights = {"w": torch.randn(2, 3), "n": torch.tensor(3)}
    crowd = Crowd(torch.randn(2, 3), torch.tensor([0, 4]))
    task = _flower.read_task(_flower.record(Task(5, weights, weights, crowd), "plan"))
    assert isinstance(task, Task)
    assert (task.number, task.crowd.age.tolist()) == (5, [0, 4])
    assert same(task.weights, weights)
    assert task.anchor is not None
    assert same(task.anchor, weights)
    empty = Crowd(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    task = _flower.read_task(_flower.record(Task(0, weights, None, empty), "plan"))
    assert isinstance(task, Task)
    assert task.anchor is None
    assert task.crowd.keys.shape == (0, 3)
    ask = _flower.read_ask(_flower.record(Ask(1, weights, 0.5), "plan"))
    assert isinstance(ask, Ask)
    assert ask.noise == 0.5
    for said in (
        Hello(2**62, 9, weights, {"reader": {}}),
        Shared(3, 1, torch.randn(2, 3)),
        Answer(3, 1, weights, 4, {"loss": 0.5}),
    ):
        found = _flower.read_reply(_flower.reply(said))
        assert type(found) is type(said)
        assert found.owner == said.owner
    assert isinstance(found, Answer)
    assert found.measures == {"loss": 0.5}


RECIPE = '''"""Small pictures, a small network."""
from nearfar.encoders import ProjectionHead, ResNet
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Model
from nearfar.pairs import ImageFolder, ImageReader, PicturePairs, simclr_views

def tiny(path: str, temperature: float = 0.2) -> Experiment:
    """Learn.

    Args:
        path: A folder.
        temperature: Of the loss.
    """
    folder, tau = ImageFolder(path, 32), Temperature(temperature)
    reader, network = ImageReader(32), ResNet([16, 32])
    views = simclr_views(32, crop=0.6)
    return Experiment(
        model=Model(reader, network, ProjectionHead(32, 64, 16)),
        pairs=PicturePairs(folder.pixels, views, reader, folder.names, folder.ids),
        objective=NTXentLoss(tau), temperature=tau, inputs=folder.files, labels=folder.labels,
    )
'''


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A recipe of somebody else's."""
    file = tmp_path / "tiny.py"
    file.write_text(RECIPE)
    return str(file)


def federate(recipe: str, folder: Path, out: Path, *flags: str) -> int:
    plain = ["--clients", "3", "--rounds", "8", "--local-steps", "5", "--batch-size", "16"]
    return main(["federate", "simulate", recipe, str(folder), "--out", str(out), *plain, *flags])


def test_the_command_beats_the_untrained_encoder_and_goes_on(
    tiny: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("flwr")
    out = tmp_path / "run"
    assert federate(tiny, shapes, out, "--split", "iid") == 0
    said = capsys.readouterr().out
    assert "round   8 of 8   3 clients" in said
    assert f"next\n  nearfar embed {out} {shapes} " in said
    assert "nearfar evaluate" not in said  # The recipe judges by nothing.
    lines = Run(out).lines()
    assert lines[-1]["bytes_up"] > lines[-1]["bank_entries"] * 16 * 4
    assert federate(tiny, shapes, out, "--split", "iid") == 0  # nothing is left to do
    assert "round" not in capsys.readouterr().out
    assert Run(out).lines() == lines
    assert federate(tiny, shapes, out, "--split", "iid", "--sync", "2") == 1
    assert "sync: 1 then, 2 now" in capsys.readouterr().err

    learned = nearfar.load(out)
    untrained = nearfar.load(out, weights=Run(out).untrained)
    files = sorted(shapes.rglob("*.*"))
    labels = [file.parent.name for file in files]
    a, b = (
        knn(v[::2], labels[::2], v[1::2], labels[1::2], 5)
        for v in (learned.embed(files), untrained.embed(files))
    )
    assert a > b + 0.05


def test_a_federation_that_cannot_begin_leaves_no_folder(
    tiny: str, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert federate(tiny, tmp_path / "nowhere", out) == 1
    assert "there is no such folder" in capsys.readouterr().err
    assert federate(tiny, shapes, out, "--clients", "500") == 1
    assert "clients=500: a client would hold 0 of the 120 items" in capsys.readouterr().err
    assert not out.exists()


def test_a_private_run_says_what_it_cost(tiny: str, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("flwr")
    pytest.importorskip("dp_accounting")
    import json

    out = tmp_path / "run"
    flags = ["--split", "label-skew", "--classes", "1", "--share", "sums", "--group", "10"]
    assert federate(tiny, shapes, out, *flags, "--rounds", "2", "--epsilon", "8") == 0
    ledger = json.loads((out / "privacy.json").read_text())
    assert ledger["releases"] == {"1": 2, "2": 2, "3": 2}
    assert ledger["epsilon"] == pytest.approx(8.0, rel=1e-3)
    assert ledger["noise"] == pytest.approx(2**0.5 * 1.2, rel=0.01)
    assert "not their weights" in ledger["covers"]


def test_flowers_processes_in_this_one_give_the_same(tmp_path: Path) -> None:
    """The in-process grid carries what a plain wire carries."""
    pytest.importorskip("flwr")
    from nearfar.federate import _engines, _flower

    federation = settings()
    plain, _, _ = served(federation, tmp_path / "plain")
    clients = list(wire(federation).clients.values())
    app = _flower.client_app(lambda text, node: clients[node["partition-id"]])
    line = _flower.GridLine(_engines.InProcessGrid(app, 3), "plan")
    (tmp_path / "flower").mkdir()
    server = Server(federation, Run(tmp_path / "flower"), line, str)
    server.play()
    assert same(plain.weights, server.weights)


def test_a_client_that_fails_is_named(tmp_path: Path) -> None:
    pytest.importorskip("flwr")
    from nearfar.federate import _engines, _flower

    federation = settings()
    clients = list(wire(federation).clients.values())

    def one(text: str, node: Mapping[str, Any]) -> Client:
        if node["partition-id"] == 1:
            raise NearfarError("this one is broken")
        return clients[node["partition-id"]]

    said: list[str] = []
    line = _flower.GridLine(_engines.InProcessGrid(_flower.client_app(one), 3), "plan")
    (tmp_path / "run").mkdir()
    Server(federation, Run(tmp_path / "run"), line, said.append).play()
    assert "node 2 failed: this one is broken" in said
    assert [x["clients"] for x in Run(tmp_path / "run").lines()] == [2, 2, 2]

    def none(text: str, node: Mapping[str, Any]) -> Client:
        raise NearfarError("all are broken")

    line = _flower.GridLine(_engines.InProcessGrid(_flower.client_app(none), 3), "plan")
    (tmp_path / "none").mkdir()
    with pytest.raises(NearfarError, match="Every client failed; the first: all are broken"):
        Server(federation, Run(tmp_path / "none"), line, str).play()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["simulat"], 2, "Did you mean 'simulate'?"),
        (["simulate", "imges"], 1, "Did you mean 'images'?"),
        (["server", "images", "--host", "0.0.0.0"], 1, "is open to others. Wanted --certificate"),
        (["client", "far.example:8000", "data"], 1, "Wanted --authority CA.pem"),
    ],
)
def test_words_that_do_not_fit(
    words: list[str],
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["federate", *words]) == status
    assert said in "".join(capsys.readouterr())


def test_a_port_that_is_taken_is_told(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        words = ["federate", "server", tiny, "--port", port, "--out", str(tmp_path / "run")]
        assert main(words) == 1
    assert f"port={port} is in use on 127.0.0.1" in capsys.readouterr().err


@slow
def test_rays_processes_give_the_same(shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    a, b = tmp_path / "a", tmp_path / "b"
    flags = ["--split", "label-skew", "--classes", "1", "--rounds", "2"]
    for out, engine in ((a, "process"), (b, "ray")):
        words = ["federate", "simulate", "images", str(shapes), "--clients", "3", *flags]
        words += ["--batch-size", "16", "--crop", "0.6", "--out", str(out), "--engine", engine]
        subprocess.run(
            [sys.executable, "-m", "nearfar", *words],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    one, two = (Run(out).lines() for out in (a, b))
    assert [x["loss"] for x in one] == pytest.approx([x["loss"] for x in two], rel=1e-3)


@slow
@pytest.mark.parametrize(("many", "secure"), [(2, "false"), (3, "true")])
def test_processes_on_loopback(many: int, secure: str, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("flwr")
    for number in range(many):
        for shape in ("bar", "cross", "disc"):
            target = tmp_path / str(number) / shape
            target.mkdir(parents=True)
            for file in sorted((shapes / shape).iterdir())[number::many]:
                (target / file.name).write_bytes(file.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "nearfar", "federate", *words],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    flags = ["--rounds", "2", "--least", str(many), "--local-steps", "3", "--batch-size", "16"]
    flags += ["--secure", secure]
    out = tmp_path / "run"
    server = start("server", "images", "--port", port, "--out", str(out), "--crop", "0.6", *flags)
    clients = [start("client", f"127.0.0.1:{port}", str(tmp_path / str(n))) for n in range(many)]
    try:
        said, _ = server.communicate(timeout=900)
        assert server.returncode == 0, said
    finally:
        for process in (server, *clients):
            process.send_signal(signal.SIGTERM)
        for process in clients:
            process.communicate(timeout=60)
    assert [x["clients"] for x in Run(out).lines()] == [many, many]
    assert nearfar.load(out).embed(sorted(shapes.rglob("*.*"))[:3]).shape[0] == 3
    time.sleep(1)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0, "the SuperLink outlived its command"


@pytest.mark.parametrize("relation", ["ids", "weight", "mask"])
def test_info_nce_is_what_the_bank_game_asks(relation: str) -> None:
    """Without fading the game is info_nce with the bank as further negatives."""
    experiment = small()
    crowd = Crowd(functional.normalize(torch.randn(5, 8)), torch.zeros(5, dtype=torch.int64))
    game = BankGame(experiment.model, experiment.temperature, crowd, settings())
    batch = experiment.pairs.draw(torch.arange(4), CPU)
    paired = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    if relation != "ids":
        said = paired.float().to_sparse() if relation == "weight" else paired == 0
        batch = replace(batch, **{relation: said})
    vectors = experiment.model.encoder(batch.query)
    assert experiment.model.head is not None
    wanted = info_nce(
        experiment.model.head(vectors),
        game._made(batch.key),
        crowd.keys,
        0.2,
        in_batch=True,
        **batch.relation,
    )
    torch.testing.assert_close(game(experiment.model, batch, vectors), wanted)
