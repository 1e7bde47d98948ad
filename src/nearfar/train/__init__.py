"""The one loop: draw pairs, encode, loss, update, watch."""

from nearfar.train._loop import Outcome, device, fit, plan, precision
from nearfar.train._run import Run
from nearfar.train._watch import Watcher

__all__ = ["Outcome", "Run", "Watcher", "device", "fit", "plan", "precision"]
