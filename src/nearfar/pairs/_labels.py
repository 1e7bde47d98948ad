"""Sub-folders as labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath


def folder_labels(names: Sequence[str]) -> tuple[list[str] | None, list[str]]:
    """What files are called by the first folder around each.

    Args:
        names: (N,) paths below one folder.

    Returns:
        (N,) labels, or None where there are no two sub-folders or a file lies beside them; and a
        remark in the latter case.

    Example:
        >>> folder_labels(["cat/1.jpg", "dog/1.jpg"])
        (['cat', 'dog'], [])
    """
    parts = [PurePath(name).parts for name in names]
    labels = [folders[0] for folders in parts if len(folders) > 1]
    if len(set(labels)) < 2:
        return None, []
    beside = [name for name, folders in zip(names, parts, strict=True) if len(folders) == 1]
    if not beside:
        return labels, []
    return None, [
        f"No labels: there are {len(set(labels))} sub-folders, but {len(beside)} file(s) beside "
        f"them ({', '.join(beside[:3])}{', ...' if len(beside) > 3 else ''}). Move what lies "
        "beside them into one, or away."
    ]
