"""Secure aggregation: the server sees the sum of the clients' weights, and nobody's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nearfar import NearfarError
from nearfar.cli import main
from nearfar.federate import Client, Federation, Part, Plan, Server, Split, average, simulate
from nearfar.federate._vector import BOUND, packed, unpacked
from nearfar.train import Run
from test_federate import RECIPE, Stop, same, settings, small

needs_flower = pytest.mark.skipif(not importlib.util.find_spec("flwr"), reason="needs flwr")
# Of 24 items.
PARTS = (4, 9, 5, 6)


def clients(federation: Federation) -> list[Client]:
    made = []
    for number, own in enumerate(torch.arange(24).split(PARTS), start=1):
        whole = small()
        made.append(Client(replace(whole, pairs=Part(whole.pairs, own)), federation, number))
    return made


def grid(
    federation: Federation, lost: Mapping[int, str] | None = None, *, reached: bool = True
) -> Any:
    """All clients in this process; every message is kept, and in a stage a node may be lost.

    It then answers nothing; if not ``reached``, Flower takes no message for it.
    """
    from nearfar.federate import _engines, _flower

    class Watched(_engines.InProcessGrid):
        def __init__(self, app: Any, nodes: int) -> None:
            super().__init__(app, nodes)
            self.messages: list[Any] = []
            self.lost = dict(lost or {})

        def _work(self, message: Any) -> str:
            name = super()._work(message)
            config = message.content.config_records.get("secaggplus_configs", {})
            node = message.metadata.dst_node_id
            if config and config.get("stage") == self.lost.get(node):
                self._replies.pop(name)
                return name if reached else ""
            if name in self._replies:
                self.messages.append((node, config.get("stage"), self._replies[name]))
            return name

    made = clients(federation)
    return Watched(_flower.client_app(lambda text, node: made[node["partition-id"]]), len(made))


def secure(federation: Federation, folder: Path, over: Any, say: Any = str) -> Server:
    from nearfar.federate import _flower

    folder.mkdir(exist_ok=True)
    server = Server(federation, Run(folder), _flower.GridLine(over, "plan"), say)
    server.play()
    return server


def near(a: Mapping[str, Tensor], b: Mapping[str, Tensor], items: Sequence[int]) -> bool:
    """Whether weights differ by no more than the rounding of clients' changes, asked of four.

    A client's change, times its items over the largest client's, is off by less than a level, and
    the sum is divided by the sum of these. Twice that, as a variance takes a squared mean off, and
    a rounding to float32 each.
    """
    level = 2 * BOUND / (2**32 >> (4).bit_length())
    most = 2 * level * len(items) * max(PARTS) / sum(items)
    assert all(torch.equal(a[k], x) for k, x in b.items() if not x.is_floating_point())
    return all(torch.allclose(a[k], x, rtol=2.4e-7, atol=most) for k, x in b.items())


def test_a_vector_is_a_change_and_back() -> None:
    common = {
        "w": torch.randn(2, 3),
        "n.running_mean": torch.randn(3),
        "n.running_var": torch.rand(3) + 1,
        "n.num_batches_tracked": torch.tensor(40),
    }
    states = [
        {k: x + 5 if k.endswith("tracked") else x + torch.rand_like(x) for k, x in common.items()}
        for _ in range(3)
    ]
    vectors = [packed(state, common) for state in states]
    assert vectors[0].shape == (13,)
    assert vectors[0].dtype == torch.float64
    items = [4, 1, 3]
    mean = sum(n * x for n, x in zip(items, vectors, strict=True)) / sum(items)
    found = unpacked(mean, common)
    wanted = average([(k, n, x) for k, (n, x) in enumerate(zip(items, states, strict=True))])
    torch.testing.assert_close(found, wanted)
    assert found["n.num_batches_tracked"].item() == 45


@pytest.mark.parametrize("value", [3 * BOUND, float("nan")])
def test_a_change_that_is_too_large_is_told(value: float) -> None:
    common = {"w": torch.zeros(3), "n": torch.tensor(0)}
    state = {"w": torch.tensor([0.0, value, 0.0]), "n": torch.tensor(1000)}
    with pytest.raises(NearfarError, match=rf"up to 64 a number, and 'w' changed by {value:.3g} "):
        packed(state, common)
    with pytest.raises(NearfarError, match="up to 65536 a number, and 'n' changed by 7e\\+04"):
        packed({"w": torch.zeros(3), "n": torch.tensor(70_000)}, common)


def test_settings_that_hide_nothing() -> None:
    with pytest.raises(NearfarError, match=r"least=1: .* Wanted --least 3 or more"):
        Federation(secure=True)
    plan = Plan("images", {}, Federation(secure=True, least=3), Split(clients=2))
    with pytest.raises(NearfarError, match="clients=2: fewer than must answer in a round, least=3"):
        simulate(plan, Run("nowhere"))


@needs_flower
def test_masks_need_the_whole_seed() -> None:
    from nearfar.federate import _secure

    a, b = bytes(32), bytes([1, 0, 0, 0]) * 8  # alike once folded to 32 bits
    (one, few), (other, _) = (_secure.masks(seed, 2**32, [(1000,), (2, 3)]) for seed in (a, b))
    assert few.shape == (2, 3)
    assert (one != other).mean() > 0.99
    assert np.array_equal(one, _secure.masks(a, 2**32, [(1000,)])[0])
    assert abs(one.mean() / 2**31 - 1) < 0.1


@needs_flower
def test_the_sum_is_right_and_no_single_one_is_seen(tmp_path: Path) -> None:
    from flwr.common import bytes_to_ndarray

    federation = settings(rounds=1, secure=True, least=3)
    over = grid(federation)
    said: list[str] = []
    server = secure(federation, tmp_path / "run", over, said.append)
    assert not [one for one in said if "failed" in one]

    # The same round without it.
    plain = replace(federation, secure=False, least=1)
    wanted = secure(plain, tmp_path / "plain", grid(plain)).weights
    assert near(server.weights, wanted, PARTS)
    assert any(name.endswith("num_batches_tracked") for name in wanted)
    common = clients(federation)[0].hello().weights
    assert not same(wanted, common)

    # What left the devices.
    true = [packed(weights, common) for weights in played(plain, tmp_path / "b")]
    vectors = {}
    for node, stage, reply in over.messages:
        arrays = reply.content.array_records
        if "measures" in reply.content or stage:
            assert all(len(record) == 0 for record in arrays.values()), "arrays in an answer"
        if stage == "collect_masked_vectors":
            parts = reply.content.config_records["secaggplus_configs"]["masked_params"]
            vectors[node] = np.concatenate([bytes_to_ndarray(part) for part in parts])
    assert sorted(vectors) == [1, 2, 3, 4]
    levels = 2**32 >> (4).bit_length()
    for node, vector in vectors.items():
        part = true[node - 1].numpy() * PARTS[node - 1] / max(PARTS)
        clear = (part + BOUND) * levels / (2 * BOUND)
        assert vector.shape == (len(clear) + 1,)
        assert (np.abs(vector[1:] - clear) > 1).mean() > 0.999
        assert abs(np.corrcoef(vector[1:], clear)[0, 1]) < 0.1
        assert abs(vector[1:].mean() / 2**31 - 1) < 0.1  # as uniform as masks are

    line = Run(tmp_path / "run").lines()[0]
    bank = 8 * 4 * sum(min(n, 3) for n in PARTS)
    assert line["bytes_up"] > 4 * 8 * len(true[0])  # 8 bytes a number
    assert line["bytes_up"] < 4 * 8 * len(true[0]) + bank + 4 * 20_000


@needs_flower
def test_both_masks_are_on_and_need_the_whole_secret(tmp_path: Path) -> None:
    """The last stage takes a client's own mask off; those with others must hide it alone."""
    from flwr.client.mod.secure_aggregation.secaggplus_mod import SecAggPlusState
    from flwr.common import bytes_to_ndarray
    from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
    from flwr.supercore.primitives.asymmetric import bytes_to_private_key, bytes_to_public_key

    from nearfar.federate import _secure

    federation = settings(rounds=1, secure=True, least=3)
    over = grid(federation)
    secure(federation, tmp_path / "run", over)
    common = clients(federation)[0].hello().weights
    true = [
        packed(weights, common)
        for weights in played(replace(federation, secure=False, least=1), tmp_path / "b")
    ]
    levels = 2**32 >> (4).bit_length()
    sent = {
        node: reply.content.config_records["secaggplus_configs"]["masked_params"]
        for node, stage, reply in over.messages
        if stage == "collect_masked_vectors"
    }
    for node, context in over._contexts.items():
        arrays = [bytes_to_ndarray(part) for part in sent[node]]
        shapes = [x.shape for x in arrays]
        own = SecAggPlusState(**context.state.config_records["secaggplus_state"])
        vector = arrays[-1] - _secure.masks(own.rd_seed, 2**32, shapes)[-1]
        assert abs((vector % 2**32).mean() / 2**31 - 1) < 0.1
        for other, (public, _) in own.public_keys_dict.items():
            if other != node:
                shared = generate_shared_key(
                    bytes_to_private_key(own.sk1), bytes_to_public_key(public)
                )
                mask = _secure.masks(shared, 2**32, shapes)[-1]
                vector = vector - mask if node > other else vector + mask
        part = true[node - 1].numpy() * PARTS[node - 1] / max(PARTS)
        clear = (part + BOUND) * levels / (2 * BOUND)
        assert np.abs(vector % 2**32 - clear).max() < 2


@needs_flower
@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("masks", "no sound weights have such a sum"),
        ("short", "what a client sent cannot be summed"),
        ("nothing", "too few were left to take the masks off"),
    ],
)
def test_a_client_that_is_wrong_spoils_no_weights(
    broken: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version on one client, or on all: told, and given up after some rounds."""
    from nearfar.federate import _secure

    monkeypatch.setattr("nearfar.federate._server._PAUSE", 0.0)
    mod, masks = _secure._client.secaggplus_mod, _secure.masks

    def wrong(message: Any, context: Any, then: Any) -> Any:
        if context.node_id == 2 and broken == "masks":
            monkeypatch.setattr(
                _secure._client, "pseudo_rand_gen", lambda seed, *more: masks(b"other", *more)
            )
        if (
            broken == "nothing"
            and message.content.config_records["secaggplus_configs"]["stage"] == "setup"
        ):
            raise ValueError("no such stage")
        try:
            reply = mod(message, context, then)
        finally:
            monkeypatch.setattr(_secure._client, "pseudo_rand_gen", masks)
        config = reply.content.config_records.get("secaggplus_configs", {})
        if context.node_id == 2 and broken == "short" and "masked_params" in config:
            config["masked_params"] = config["masked_params"][:1]
        return reply

    monkeypatch.setattr(_secure._client, "secaggplus_mod", wrong)
    federation = settings(rounds=1, secure=True, least=3)
    over, said = grid(federation), list[str]()
    with pytest.raises(NearfarError, match=f"failed 3 times in a row; the last time {reason}"):
        secure(federation, tmp_path / "run", over, said.append)
    assert sum(one.startswith(f"round 1: {reason}") for one in said) == 3
    if broken == "nothing":
        assert "node 2 failed: Secure aggregation stopped: no such stage. Wanted one" in "".join(
            said
        )
    kept = torch.load(Run(tmp_path / "run").checkpoint, weights_only=True)
    assert kept["round"] == 0
    assert same(kept["learner"], clients(federation)[0].hello().weights)


def played(federation: Federation, folder: Path) -> list[dict[str, Tensor]]:
    """The clients' weights of the first round, by their ids."""
    from nearfar.federate import _flower

    over = grid(federation)
    secure(federation, folder, over)
    answers = [
        _flower.read_reply(x.content) for _, _, x in over.messages if "measures" in x.content
    ]
    return [one.weights for one in sorted(answers, key=lambda one: one.owner)]  # type: ignore[union-attr]


@needs_flower
@pytest.mark.parametrize(
    ("reached", "told"),
    [
        (True, "node 2 has not answered within 0 seconds"),
        (False, "node 2 failed: it cannot be reached"),
    ],
)
def test_who_drops_out_is_left_out(reached: bool, told: str, tmp_path: Path) -> None:
    """Lost after it has sent its shares; its masks come off without it."""
    federation = settings(rounds=1, secure=True, least=3)
    said: list[str] = []
    over = grid(federation, {2: "collect_masked_vectors"}, reached=reached)
    server = secure(federation, tmp_path / "run", over, said.append)
    assert told in said
    plain = replace(federation, secure=False, least=1)
    weights = played(plain, tmp_path / "plain")
    wanted = average([(k, PARTS[k], weights[k]) for k in (0, 2, 3)])
    assert near(server.weights, wanted, [PARTS[k] for k in (0, 2, 3)])
    assert Run(tmp_path / "run").lines()[0]["clients"] == 3


@needs_flower
@pytest.mark.parametrize(
    ("stage", "least"),
    [("setup", 3), ("share_keys", 3), ("collect_masked_vectors", 4), ("unmask", 4)],
)
def test_a_sum_of_too_few_is_played_again(
    stage: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearfar.federate._server._PAUSE", 0.0)
    federation = settings(rounds=1, secure=True, least=least)
    over = grid(federation)
    said: list[str] = []

    def watch(one: str) -> None:
        said.append(one)
        over.lost = {2: stage} if one.startswith("client 4") else {}

    server = secure(federation, tmp_path / "run", over, watch)
    assert "round 1: too few were left to take the masks off" in said
    if stage == "setup":  # nobody has its shares
        assert any("lost before its shares were dealt out" in one for one in said)
    assert f"round 1: 0 of the {least} answers that it needs; it is played again" in said
    again = secure(federation, tmp_path / "again", grid(federation))
    assert same(server.weights, again.weights)


@needs_flower
def test_a_secure_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    federation = settings(rounds=2, secure=True, least=3)
    whole = secure(federation, tmp_path / "whole", grid(federation))

    def stop(line: str) -> None:
        if line.startswith("round   1"):
            raise Stop

    with pytest.raises(Stop):
        secure(federation, tmp_path / "run", grid(federation), stop)
    assert same(whole.weights, secure(federation, tmp_path / "run", grid(federation)).weights)


@needs_flower
def test_a_stale_vector_is_not_handed_out() -> None:
    from flwr.app import Context, Message, RecordDict
    from flwr.common import FitIns, Parameters

    from nearfar.federate import _secure

    state = RecordDict()
    content = _secure._server.compat.fitins_to_recorddict(
        FitIns(Parameters([], ""), {"number": 3}), True
    )
    message, context = Message(content, 1, "train"), Context(1, 1, {}, state, {})
    with pytest.raises(NearfarError, match="weights of round 3, and kept those of None"):
        _secure.hand_out(message, context)
    _secure.keep(state, torch.zeros(2), items=5, number=2, seed=0)
    with pytest.raises(NearfarError, match=r"^Asked for weights of round 3, and kept those of 2"):
        _secure.hand_out(message, context)


@needs_flower
def test_the_flag(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.py"
    recipe.write_text(RECIPE)
    words = ["federate", "simulate", str(recipe), str(shapes), "--clients", "3", "--rounds", "1"]
    words += ["--local-steps", "1", "--batch-size", "8", "--out", str(tmp_path / "run")]
    assert main([*words, "--secure", "true"]) == 1
    assert "Wanted --least 3 or more" in capsys.readouterr().err
    assert main([*words, "--secure", "true", "--least", "3"]) == 0
    said = "".join(capsys.readouterr())
    assert "round   1 of 1   3 clients" in said
    assert "ecure aggregation" not in said  # Flower's chatter
