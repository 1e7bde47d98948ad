"""Names that no hub needs to be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nearfar.errors import did_you_mean


def refuse_mistyped(name: str, known: Iterable[str]) -> None:
    """Refuse what can only be a folder, or a built-in encoder, typed wrongly: no network is needed.

    Args:
        name: What the user typed: a folder, or the name of a model on a hub.
        known: Names of built-in encoders.

    Raises:
        ValueError: There is no such folder, and the name is no hub's.
    """
    folder = Path(name)
    if folder.exists():
        return
    if len(folder.parts) > 1 and Path(folder.parts[0]).is_dir():
        beside = (str(one) for one in folder.parent.glob("*") if one.is_dir())
        here = folder.parts[0]
        raise ValueError(f"{here!r} is a folder here, without that.{did_you_mean(name, beside)}")
    meant = did_you_mean(name, known)
    if len(folder.parts) == 1 and meant:
        raise ValueError(f"there is no such encoder.{meant}")
