"""A round's answers to an average: openly, or by secure aggregation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nearfar.errors import NearfarError
from nearfar.federate._average import State, average, same_shapes
from nearfar.federate._federation import Federation
from nearfar.federate._line import Line, Reply
from nearfar.federate._messages import Answer
from nearfar.federate._vector import possible, unpacked

Say = Callable[[str], None]
# Secure aggregations that fail in a row, until the run is given up.
_PATIENCE = 3


@dataclass(frozen=True)
class Averaged:
    """The average.

    Attributes:
        weights: Nothing where there are no answers.
        answers: Those that are in it.
        up: Bytes that it took, from clients.
        down: The same, to clients.
    """

    weights: State
    answers: list[Answer]
    up: int = 0
    down: int = 0


class Averaging:
    """Averages the answers of a round, and says what was left out.

    Args:
        federation: Whether weights stay hidden, and how many must be in a sum.
        line: Over which hidden weights are summed.
        say: Told a line for each thing that goes wrong.
    """

    def __init__(self, federation: Federation, line: Line, say: Say) -> None:
        self._federation, self._line, self._say = federation, line, say
        self._failures = 0

    def __call__(self, replies: Sequence[Reply], common: State, number: int) -> Averaged:
        """The average of those that are sound.

        Args:
            replies: Answers of the round, by owner.
            common: The weights that it began from.
            number: The round, from 0.

        Raises:
            NearfarError: Secure aggregation failed several times in a row.
        """
        answers: list[Any] = [reply.said for reply in replies]
        if self._federation.secure:
            few = len(answers) < self._federation.least
            return Averaged({}, answers) if few else self._hidden(replies, common, number)
        sound = [one for one in answers if _sound(one.weights, common)]
        if len(sound) < len(answers):
            bad = len(answers) - len(sound)
            self._say(f"round {number + 1}: {bad} client(s) sent weights that do not fit; left out")
        weights = average([(a.owner, a.items, a.weights) for a in sound]) if sound else {}
        return Averaged(weights, sound)

    def _hidden(self, replies: Sequence[Reply], common: State, number: int) -> Averaged:
        answers: dict[int, Any] = {reply.node: reply.said for reply in replies}
        items = {node: answer.items for node, answer in answers.items()}
        least, wait = self._federation.least, self._federation.wait
        got = self._line.gather(items, number, least, wait)
        for node in sorted(got.failures):
            self._say(f"node {node} failed: {got.failures[node]}")
        for node in sorted(got.late):
            self._say(f"node {node} has not answered within {wait:g} seconds")
        if got.mean is not None and possible(got.mean, common):
            self._failures = 0
            inside = [answer for node, answer in answers.items() if node in got.nodes]
            return Averaged(unpacked(got.mean, common), inside, got.up, got.down)
        reason = got.reason if got.mean is None else "no sound weights have such a sum"
        self._say(f"round {number + 1}: {reason}")
        self._failures += 1
        # Who is late may come back.
        if self._failures >= _PATIENCE and not got.late:
            raise NearfarError(
                f"Secure aggregation failed {self._failures} times in a row; the last time "
                f"{reason}. Wanted one nearfar version, with flwr 1.42, on all clients and the "
                "server."
            )
        return Averaged({}, [], got.up, got.down)


def _sound(weights: State, common: State) -> bool:
    finite = all(bool(x.isfinite().all()) for x in weights.values())
    return finite and same_shapes(weights, common)
