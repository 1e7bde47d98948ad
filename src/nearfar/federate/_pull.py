"""Replies over a Flower grid, asked for until they are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Array, Message
from flwr.serverapp import Grid

_PAUSE = 0.2


def pulled(
    grid: Grid, asked: dict[str, int], waiting: Callable[[], bool], seconds: float
) -> list[tuple[int, Message]]:
    """Nodes and their replies.

    Args:
        grid: Where messages were pushed.
        asked: Each message's name to its node; those that are answered are taken out.
        waiting: Whether somebody is still waited for.
        seconds: When this time is over, nobody is.
    """
    end = time.monotonic() + seconds
    replies: list[tuple[int, Message]] = []
    while True:
        for message in grid.pull_messages(list(asked)):
            node = asked.pop(message.metadata.reply_to_message_id, None)
            if node is not None:
                replies.append((node, message))
        if not waiting() or time.monotonic() > end:
            return replies
        time.sleep(_PAUSE)


class CountingGrid:
    """A grid of which the workflow uses one method; counts bytes and notes who failed.

    Flower's own asks for replies every three seconds, and where a node is gone it does not say
    which.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.up = self.down = 0
        self.failures: dict[int, str] = {}
        self.late: set[int] = set()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float) -> list[Message]:
        sent = list(messages)
        self.down += sum(_bytes(message.content) for message in sent)
        nodes = [message.metadata.dst_node_id for message in sent]
        names = list(self._grid.push_messages(sent))
        asked = {name: node for name, node in zip(names, nodes, strict=True) if name}
        self.failures |= dict.fromkeys(set(nodes) - set(asked.values()), "it cannot be reached")
        replies = pulled(self._grid, asked, lambda: bool(asked), timeout)
        for node, reply in replies:
            if reply.has_error():
                self.failures[node] = str(reply.error.reason)
            else:
                self.up += _bytes(reply.content)
        self.late |= set(asked.values())
        return [reply for _, reply in replies]


def _bytes(part: Any) -> int:
    """Of whatever is in a message, its names aside."""
    if isinstance(part, Mapping):
        return sum(map(_bytes, part.values()))
    if isinstance(part, list):
        return sum(map(_bytes, part))
    if isinstance(part, Array):
        return len(part.data)
    return len(part) if isinstance(part, (bytes, str)) else 8
