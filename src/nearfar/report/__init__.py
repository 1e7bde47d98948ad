"""One page a run, which opens offline, written from the run folder alone."""

from nearfar.report._page import write_report
from nearfar.report._snapshot import Snapshot, take_snapshot

__all__ = ["Snapshot", "take_snapshot", "write_report"]
