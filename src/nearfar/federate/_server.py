"""The server: sends the average and the bank, takes weights and entries, again and again."""

from __future__ import annotations

import io
import json
import time
from statistics import fmean
from typing import Any

import torch

from nearfar.errors import NearfarError
from nearfar.federate._average import State
from nearfar.federate._averaging import Averaging, Say
from nearfar.federate._bank import SharedBank
from nearfar.federate._federation import Federation
from nearfar.federate._finish import model_of
from nearfar.federate._ledger import calibrated, ledger
from nearfar.federate._line import Line, Reply
from nearfar.federate._messages import Answer, Ask, Hello, Shared, Task, Words, size
from nearfar.files import replace_bytes, replace_text
from nearfar.train import Run

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
        self._averaging = Averaging(federation, line, say)
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
            up, down, replies = self._ask()
            got = self._averaging(replies, self.weights, self.round)
            if len(got.answers) < self._federation.least:
                self._say(
                    f"round {self.round + 1}: {len(got.answers)} of the {self._federation.least} "
                    "answers that it needs; it is played again"
                )
                time.sleep(_PAUSE)
                continue
            self.weights = got.weights
            self.round += 1
            seconds = time.perf_counter() - began
            told = self._write(got.answers, up + got.up, down + got.down, seconds)
            self._save()
            self._run.settle()
            self._say(told)

    def _ask(self) -> tuple[int, int, list[Reply]]:
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
        heard = self._heard(nodes, Answer)
        up += sum(size(one.said.weights) for one in heard)
        now = {one.said.owner: one for one in heard if one.said.number == number}
        return up, down, [now[owner] for owner in sorted(now)]

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
                hellos = [one.said for one in self._heard(new, Hello)]
                for hello in sorted(hellos, key=lambda one: one.owner):
                    self._say(f"client {hello.owner}: {hello.items:,} items")
                    if not self.weights:
                        self._begin(hello)
            known = [node for node in here if node in self._owners]
            if len(known) >= self._federation.least:
                return known
            time.sleep(_PAUSE)

    def _heard(self, nodes: list[int], kind: type[Any]) -> list[Any]:
        """Replies of one kind; failures are told, and are errors where all fail."""
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
        return [reply for reply in replies if isinstance(reply.said, kind)]

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
        state = self._run.state()
        self.round, self.weights, self.model = state["round"], state["learner"], state["model"]
        self.anchor, self.anchored = state["anchor"], state["anchored"]
        self.bank.load_state_dict(state["bank"])
        self.releases = state["releases"]
