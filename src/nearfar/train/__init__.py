"""The one loop: draw pairs, encode, loss, update, watch."""

from nearfar.train._loop import Outcome, fit, plan, precision
from nearfar.train._run import Run
from nearfar.train._watch import Watcher

__all__ = ["Outcome", "Run", "Watcher", "fit", "plan", "precision"]
