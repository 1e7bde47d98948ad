"""All nodes on this machine. The one file that knows what Flower keeps to itself.

Written for flwr 1.42; ``TaskIdentity`` and ``_message_id`` are its private names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import torch
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from nearfar.errors import NearfarError


class InProcessGrid(Grid):
    """Plays all nodes in this process, one after the other: no daemon, no start-up.

    Args:
        app: What nodes run.
        nodes: How many there are; their settings are those of Flower's simulation.
    """

    def __init__(self, app: ClientApp, nodes: int) -> None:
        self._app, self._replies, self._count = app, dict[str, Message](), 0
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
        self._contexts = {
            node + 1: Context(
                run_id=1,
                node_id=node + 1,
                node_config={"partition-id": node, "num-partitions": nodes},
                state=RecordDict(),
                run_config={},
            )
            for node in range(nodes)
        }

    @property
    def run(self) -> Any:
        """There is none."""
        return None

    def set_run(self, run: Any) -> None:
        """There is none."""

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """Flower's own, deprecated there."""
        return Message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Each message is worked on at once."""
        return [self._work(message) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._replies.pop(name) for name in message_ids if name in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _work(self, message: Message) -> str:
        self._count += 1
        name = str(self._count)
        # As over a wire: what a node does to a message, no other sees. Bytes are not copied.
        message = deepcopy(message)
        # Flower's engines name a message when they take it.
        message.metadata.__dict__["_message_id"] = name
        try:
            reply = self._app(message, self._contexts[message.metadata.dst_node_id])
        except NearfarError as error:
            reply = Message(Error(code=0, reason=str(error)), reply_to=message)
        self._replies[name] = reply
        return name


def simulate_with_ray(server: Callable[[Grid], None], app: ClientApp, nodes: int) -> None:
    """Flower's own simulation: nodes in Ray's worker processes.

    Args:
        server: Called with the grid.
        app: What nodes run.
        nodes: How many there are.
    """
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    serving = ServerApp()

    @serving.main()
    def main(grid: Grid, context: Context) -> None:
        server(grid)

    each = {"num_cpus": 1, "num_gpus": 1.0 if torch.cuda.is_available() else 0.0}
    settings: Any = {"client_resources": each, "init_args": {"include_dashboard": False}}
    run_simulation(
        server_app=serving,
        client_app=app,
        num_supernodes=nodes,
        backend_config=settings,
    )
