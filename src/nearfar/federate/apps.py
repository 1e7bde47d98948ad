"""The two apps that Flower's processes load: what ``nearfar federate server`` sends to them."""

from __future__ import annotations

import os

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from nearfar.federate._flower import GridLine, client_app
from nearfar.federate._plan import Plan, real
from nearfar.federate._processes import RUN_VARIABLE
from nearfar.federate._server import Server
from nearfar.train import Run

server = ServerApp()
client = client_app(real)


@server.main()
def _main(grid: Grid, context: Context) -> None:
    text = str(context.run_config["plan"])
    run = Run(os.environ[RUN_VARIABLE])
    Server(Plan.of(text).federation, run, GridLine(grid, text), print).play()
