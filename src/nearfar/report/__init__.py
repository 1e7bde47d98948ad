"""One page a run, which opens offline, written from the run folder alone."""

from nearfar.report._exhibits import keep_exhibits
from nearfar.report._page import write_report
from nearfar.report._snapshot import Snapshot, take_snapshot
from nearfar.report._sweep import Trial, write_sweep

__all__ = ["Snapshot", "Trial", "keep_exhibits", "take_snapshot", "write_report", "write_sweep"]
