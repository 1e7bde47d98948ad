"""Write a run's report again: nearfar report RUN"""

from __future__ import annotations

from collections.abc import Sequence


def report(run: str) -> int:
    """Write report.html from what the run folder holds.

    Args:
        run: A run folder.
    """
    from nearfar.cli import _show as show
    from nearfar.report import write_report
    from nearfar.train import Run

    folder = Run(run)
    folder.settings()
    write_report(folder)
    show.out().print(f"{folder.report}")
    return 0


def command(words: Sequence[str]) -> int:
    """``nearfar report``."""
    from nearfar.cli._parse import call

    return call(report, "nearfar report", words)
