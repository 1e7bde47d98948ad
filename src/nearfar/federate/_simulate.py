"""All clients on one machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from nearfar.errors import NearfarError
from nearfar.federate._plan import Plan, simulated
from nearfar.federate._server import Server
from nearfar.train import Run

Engine = Literal["process", "ray"]


def simulate(
    plan: Plan, run: Run, say: Callable[[str], None] = print, *, engine: Engine = "process"
) -> Server:
    """Play all rounds, or those that are left, with clients that share this machine.

    Args:
        plan: With a split.
        run: Where checkpoint and metrics go.
        say: Told a line per round.
        engine: process: one client after the other, in this process. ray: Flower's simulation,
            with a worker process per core, after a start of a minute.

    Returns:
        The server after its last round.

    Raises:
        NearfarError: flwr (or ray) is missing, fewer clients than must answer, or no client can
            take part.
    """
    if plan.split is None:
        raise NearfarError("plan has no split; a simulation needs one: Plan(..., split=Split()).")
    if plan.split.clients < plan.federation.least:
        raise NearfarError(
            f"clients={plan.split.clients}: fewer than must answer in a round, "
            f"least={plan.federation.least}. Wanted more --clients."
        )
    try:
        from nearfar.federate._engines import InProcessGrid, simulate_with_ray
        from nearfar.federate._flower import GridLine, client_app
    except ImportError as error:
        raise NearfarError(
            f"Federation is carried by Flower, which cannot be imported ({error}). "
            "pip install 'nearfar[federate]'"
        ) from error
    app, made = client_app(simulated), list[Server]()

    def serve(grid: Any) -> None:
        made.append(Server(plan.federation, run, GridLine(grid, plan.text), say))
        made[0].play()

    if engine == "process":
        serve(InProcessGrid(app, plan.split.clients))
    else:
        simulate_with_ray(serve, app, plan.split.clients)
    return made[0]
