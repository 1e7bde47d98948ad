"""Many clients, one space: data stay where they are, weights are averaged, negatives shared."""

import os

# Flower asks its makers' servers otherwise; it reads these when it is imported,
# which is in this room alone.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

from nearfar.federate._average import average
from nearfar.federate._bank import Crowd, SharedBank
from nearfar.federate._client import Client
from nearfar.federate._federation import Federation, Split
from nearfar.federate._finish import model_of
from nearfar.federate._game import BankGame
from nearfar.federate._ledger import noise_for, spent
from nearfar.federate._messages import Answer, Ask, Hello, Shared, Task
from nearfar.federate._norms import GroupNormed
from nearfar.federate._part import Part
from nearfar.federate._plan import Plan, data_names, dealt, whole
from nearfar.federate._release import release
from nearfar.federate._server import Server
from nearfar.federate._simulate import simulate
from nearfar.federate._split import deal

__all__ = [
    "Answer",
    "Ask",
    "BankGame",
    "Client",
    "Crowd",
    "Federation",
    "GroupNormed",
    "Hello",
    "Part",
    "Plan",
    "Server",
    "Shared",
    "SharedBank",
    "Split",
    "Task",
    "average",
    "data_names",
    "deal",
    "dealt",
    "model_of",
    "noise_for",
    "release",
    "simulate",
    "spent",
    "whole",
]
