"""The one loop: draw pairs, encode, loss, update, watch."""

from nearfar.train._fabric import device, leads
from nearfar.train._loop import fit
from nearfar.train._plan import Outcome, Plan, plan, precision
from nearfar.train._run import Run
from nearfar.train._together import SharedError, disband
from nearfar.train._watch import Watcher

__all__ = [
    "Outcome",
    "Plan",
    "Run",
    "SharedError",
    "Watcher",
    "device",
    "disband",
    "fit",
    "leads",
    "plan",
    "precision",
]
