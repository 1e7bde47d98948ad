"""Words to Flower's messages and back, the app of a node, and a line over a grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from nearfar.federate import _secure
from nearfar.federate._bank import Crowd
from nearfar.federate._client import Client
from nearfar.federate._line import Gathered, Reply
from nearfar.federate._messages import Answer, Ask, Hello, Said, Shared, Task, Words
from nearfar.federate._pull import pulled
from nearfar.federate._vector import packed

# From the plan's text and a node's settings to its client.
Clients = Callable[[str, Mapping[str, Any]], Client]
_KIND = {type(None): "query.hello", Ask: "query.share", Task: "train.play"}


def record(words: Words, plan: str) -> RecordDict:
    """What goes to a client."""
    out = RecordDict({"plan": ConfigRecord({"json": plan})})
    if words is None:
        return out
    out["weights"] = ArrayRecord(words.weights)
    if isinstance(words, Ask):
        out["task"] = ConfigRecord({"number": words.number, "noise": words.noise})
        return out
    out["task"] = ConfigRecord({"number": words.number})
    out["crowd"] = ArrayRecord({"keys": words.crowd.keys, "age": words.crowd.age})
    if words.anchor is not None:
        out["anchor"] = ArrayRecord(words.anchor)
    return out


def read_ask(content: RecordDict) -> Ask:
    """What a client reads where it is to share."""
    task = _plain(content, "task")
    return Ask(task["number"], _tensors(content, "weights"), task["noise"])


def read_task(content: RecordDict) -> Task:
    """What a client reads where it is to train."""
    anchor = _tensors(content, "anchor") if "anchor" in content else None
    crowd = Crowd(**_tensors(content, "crowd"))
    return Task(_plain(content, "task")["number"], _tensors(content, "weights"), anchor, crowd)


def reply(said: Said) -> RecordDict:
    """What goes to the server."""
    who: dict[str, Any] = {"owner": said.owner}
    if isinstance(said, Hello):
        who |= {"items": said.items, "model": json.dumps(said.model)}
        return RecordDict({"who": ConfigRecord(who), "weights": ArrayRecord(said.weights)})
    who["number"] = said.number
    if isinstance(said, Shared):
        return RecordDict({"who": ConfigRecord(who), "keys": ArrayRecord({"keys": said.keys})})
    who["items"] = said.items
    return RecordDict(
        {
            "who": ConfigRecord(who),
            "weights": ArrayRecord(said.weights),
            "measures": MetricRecord(dict(said.measures)),
        }
    )


def read_reply(content: RecordDict) -> Said:
    """What the server reads."""
    who = _plain(content, "who")
    if "model" in who:
        model = json.loads(who["model"])
        return Hello(who["owner"], who["items"], _tensors(content, "weights"), model)
    if "keys" in content:
        return Shared(who["owner"], who["number"], _tensors(content, "keys")["keys"])
    measures: dict[str, Any] = dict(content.metric_records["measures"])
    weights = _tensors(content, "weights")
    return Answer(who["owner"], who["number"], weights, who["items"], measures)


def _plain(content: RecordDict, name: str) -> dict[str, Any]:
    return dict(content.config_records[name])


def _tensors(content: RecordDict, name: str) -> dict[str, torch.Tensor]:
    return dict(content.array_records[name].to_torch_state_dict())


def client_app(clients: Clients) -> ClientApp:
    """The app that a node runs.

    Args:
        clients: Makes the node's client, or finds the one that was made.
    """
    app = ClientApp()

    def client(message: Message, context: Context) -> Client:
        return clients(_plain(message.content, "plan")["json"], context.node_config)

    @app.query("hello")
    def hello(message: Message, context: Context) -> Message:
        return Message(reply(client(message, context).hello()), reply_to=message)

    @app.query("share")
    def share(message: Message, context: Context) -> Message:
        said = client(message, context).share(read_ask(message.content))
        return Message(reply(said), reply_to=message)

    @app.train("play")
    def play(message: Message, context: Context) -> Message:
        own, task = client(message, context), read_task(message.content)
        said = own.play(task)
        if own.federation.secure:
            vector = packed(said.weights, task.weights)
            _secure.keep(context.state, vector, said.items, task.number, own.rounding(task.number))
            said = replace(said, weights={})
        return Message(reply(said), reply_to=message)

    # Flower's workflow names no action, and its mod takes every message without one for its own.
    app.train(mods=[_secure.masked])(_secure.hand_out)
    return app


class GridLine:
    """A `Line` over a Flower grid: replies are asked for until they are there.

    Args:
        grid: Flower's, of whatever engine.
        plan: Text that every message carries, from which a node knows what to train.
    """

    def __init__(self, grid: Grid, plan: str) -> None:
        self._grid, self._plan = grid, plan
        self._asked: dict[str, int] = {}
        self._last: dict[int, str] = {}

    def nodes(self) -> list[int]:
        return list(self._grid.get_node_ids())

    def send(self, words: Mapping[int, Words]) -> None:
        messages = [
            Message(record(one, self._plan), node, _KIND[type(one)]) for node, one in words.items()
        ]
        for node, name in zip(words, self._grid.push_messages(messages), strict=True):
            if name:
                self._asked[name] = node
                self._last[node] = name

    def collect(self, awaited: Sequence[int], seconds: float) -> list[Reply]:
        def waiting() -> bool:
            return any(self._last.get(node) in self._asked for node in awaited)

        replies = pulled(self._grid, self._asked, waiting, seconds)
        return [Reply(node, self._read(message)) for node, message in replies]

    def gather(self, items: Mapping[int, int], number: int, least: int, seconds: float) -> Gathered:
        return _secure.gather(self._grid, items, number, least, seconds)

    def _read(self, message: Message) -> Said | str:
        if message.has_error():
            return str(message.error.reason)
        return read_reply(message.content)
