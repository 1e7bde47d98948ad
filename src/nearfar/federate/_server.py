"""The server: sends the average and the bank, takes weights and entries, again and again."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch

from nearfar.errors import NearfarError
from nearfar.federate._average import State, average, same_shapes
from nearfar.federate._bank import SharedBank
from nearfar.federate._federation import Federation
from nearfar.federate._finish import model_of
from nearfar.federate._ledger import calibrated, ledger
from nearfar.federate._line import Line
from nearfar.federate._messages import Answer, Ask, Hello, Shared, Task, Words, size
from nearfar.federate._vector import unpacked
from nearfar.files import replace_bytes, replace_text
from nearfar.train import Run

Say = Callable[[str], None]
_PAUSE = 1.0


class Server:
    """Plays rounds until all are played; a checkpoint after each.

    A client that does not answer is left out of a round's average and is asked again in the next.
    What it sends late is sorted by the round that it belongs to: entries enter the bank with their
    true age, weights of an earlier round are dropped.

    Args:
        federation: How.
        run: Where checkpoint and metrics go; a checkpoint that is there is resumed.
        line: Carries messages.
        say: Told a line per round, and what goes wrong.
    """

    def __init__(self, federation: Federation, run: Run, line: Line, say: Say) -> None:
        self._federation, self._run, self._line, self._say = federation, run, line, say
        self.bank = SharedBank(federation.bank, federation.contribution)
        self.round = 0
        self.weights: State = {}
        self.anchor: State = {}
        self.anchored = -1
        self._entered = 0
        self.model: dict[str, Any] = {}
        self.releases: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self._noise = calibrated(federation)
        if run.checkpoint.is_file():
            self._resume()

    def play(self) -> None:
        """All rounds that are left.

        Raises:
            NearfarError: No client can take part: each of them said why.
        """
        self._run.rewind(self.round * self._federation.local_steps)
        while self.round < self._federation.rounds:
            began = time.perf_counter()
            up, down, answers = self._ask()
            if len(answers) < self._federation.least:
                self._say(
                    f"round {self.round + 1}: {len(answers)} of the {self._federation.least} "
                    "answers that it needs; it is played again"
                )
                time.sleep(_PAUSE)
                continue
            if not self._federation.secure:
                self.weights = average([(a.owner, a.items, a.weights) for a in answers])
            self.round += 1
            told = self._write(answers, up, down, time.perf_counter() - began)
            self._save()
            self._say(told)

    def _ask(self) -> tuple[int, int, list[Answer]]:
        """One round: bytes up, bytes down, and the answers, by owner."""
        federation, number = self._federation, self.round
        nodes = self._meet()
        up, down = self._fill(nodes) if self._due() else (0, 0)
        words: dict[int, Words] = {}
        for node in nodes:
            crowd = self.bank.crowd(self._owners[node], number, federation.max_age)
            anchor = self.anchor if len(crowd) and self.anchored < number else None
            words[node] = Task(number, self.weights, anchor, crowd)
            down += size(self.weights, anchor, crowd.keys, crowd.age)
        self._line.send(words)
        said = self._heard(nodes, Answer)
        up += sum(size(one.weights) for one in said)
        now = {one.owner: one for one in said if one.number == number}
        answers = [now[owner] for owner in sorted(now)]
        if federation.secure and len(answers) >= federation.least:
            more_up, more_down, answers = self._gather(answers)
            return up + more_up, down + more_down, answers
        sound = [one for one in answers if federation.secure or self._sound(one.weights)]
        if len(sound) < len(answers):
            bad = len(answers) - len(sound)
            self._say(f"round {number + 1}: {bad} client(s) sent weights that do not fit; left out")
        return up, down, sound

    def _gather(self, answers: list[Answer]) -> tuple[int, int, list[Answer]]:
        """The average of weights that stay hidden: bytes up, bytes down, and whose are in it."""
        # Of two nodes of one client, the later is the one that lives.
        nodes = {owner: node for node, owner in self._owners.items()}
        items = {nodes[one.owner]: one.items for one in answers}
        federation = self._federation
        got = self._line.gather(items, self.round, federation.least, federation.wait)
        for node in sorted(got.failures):
            self._say(f"node {node} failed: {got.failures[node]}")
        if got.mean is None:
            self._say(f"round {self.round + 1}: too few were left to take the masks off")
        else:
            self.weights = unpacked(got.mean, self.weights)
        return got.up, got.down, [one for one in answers if nodes[one.owner] in got.nodes]

    def _sound(self, weights: State) -> bool:
        finite = all(bool(x.isfinite().all()) for x in weights.values())
        return finite and same_shapes(weights, self.weights)

    def _due(self) -> bool:
        """Whether clients share now; noisy entries are never asked for twice in a round."""
        asked = self.anchored == self.round and bool(self._noise)
        return self._federation.releases(self.round) and not asked

    def _fill(self, nodes: list[int]) -> tuple[int, int]:
        """New entries of all clients, made by the average as it is now."""
        self.anchor, self.anchored = self.weights, self.round
        for node in nodes:
            # Counted before it is asked for: an answer that is lost may have been seen.
            owner = self._owners[node]
            self.releases[owner] = self.releases.get(owner, 0) + 1
        if self._noise:
            self._save()
        self._line.send({node: Ask(self.round, self.weights, self._noise) for node in nodes})
        self._heard(nodes, Shared)
        return self._entered, size(self.weights) * len(nodes)

    def _meet(self) -> list[int]:
        """Nodes that are here and known; the first weights come from the first of them."""
        while True:
            here = sorted(self._line.nodes())
            new = [node for node in here if node not in self._owners]
            if new:
                self._line.send(dict.fromkeys(new))
                for hello in sorted(self._heard(new, Hello), key=lambda one: one.owner):
                    self._say(f"client {hello.owner}: {hello.items:,} items")
                    if not self.weights:
                        self._begin(hello)
            known = [node for node in here if node in self._owners]
            if len(known) >= self._federation.least:
                return known
            time.sleep(_PAUSE)

    def _heard(self, nodes: list[int], kind: type[Any]) -> list[Any]:
        """What nodes said, of one kind; failures are told, and are errors where all fail."""
        replies = self._line.collect(nodes, self._federation.wait)
        failures = {reply.node: reply.said for reply in replies if isinstance(reply.said, str)}
        for node in sorted(failures):
            self._say(f"node {node} failed: {failures[node]}")
        if failures and len(failures) == len(nodes) and not set(self._owners) - set(nodes):
            raise NearfarError(f"Every client failed; the first: {failures[min(failures)]}")
        said = [reply.said for reply in replies]
        for reply in replies:
            if isinstance(reply.said, Hello):
                self._owners[reply.node] = reply.said.owner
        late = sum(isinstance(one, Answer) and one.number < self.round for one in said)
        if late:
            self._say(f"round {self.round + 1}: {late} late answer(s) dropped")
        # Entries are welcome whenever they come: each says of which round it is.
        entries = [one for one in said if isinstance(one, Shared)]
        for one in sorted(entries, key=lambda one: (one.number, one.owner)):
            self.bank.receive(one.owner, one.keys, one.number)
        self._entered = sum(size(one.keys) for one in entries)
        return [one for one in said if isinstance(one, kind)]

    def _begin(self, hello: Hello) -> None:
        self.weights, self.model = hello.weights, hello.model
        model_of(self.model, self.weights).save_weights(self._run.untrained)
        self._save()

    def ledger(self) -> dict[str, Any]:
        """What was released so far, and what that costs in privacy."""
        return ledger(self._federation, self._noise, self.releases)

    def _write(self, answers: list[Answer], up: int, down: int, seconds: float) -> str:
        federation = self._federation
        step = self.round * federation.local_steps
        means = {name: fmean(a.measures[name] for a in answers) for name in answers[0].measures}
        before = self._run.lines()
        line = {
            "step": step,
            "round": self.round,
            "seconds": round(seconds + (before[-1]["seconds"] if before else 0.0), 3),
            "clients": len(answers),
            "bank_entries": len(self.bank),
            "bytes_up": up,
            "bytes_down": down,
            **means,
        }
        with self._run.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")
        replace_text(self._run.folder / "privacy.json", json.dumps(self.ledger(), indent=2) + "\n")
        return (
            f"round {self.round:>3} of {federation.rounds}   {len(answers)} clients   "
            f"loss {means['loss']:.2f}   top-1 {means['top1']:.0%}   bank {len(self.bank):,}   "
            f"up {up / 2**20:.1f} MiB, down {down / 2**20:.1f} MiB   {seconds:.1f} s"
        )

    def _save(self) -> None:
        state = {
            "step": self.round * self._federation.local_steps,
            "round": self.round,
            "learner": self.weights,
            "model": self.model,
            "anchor": self.anchor,
            "anchored": self.anchored,
            "bank": self.bank.state_dict(),
            "releases": self.releases,
        }
        file = io.BytesIO()
        torch.save(state, file)
        replace_bytes(self._run.checkpoint, file.getvalue())

    def _resume(self) -> None:
        state = torch.load(self._run.checkpoint, map_location="cpu", weights_only=True)
        self.round, self.weights, self.model = state["round"], state["learner"], state["model"]
        self.anchor, self.anchored = state["anchor"], state["anchored"]
        self.bank.load_state_dict(state["bank"])
        self.releases = state["releases"]
