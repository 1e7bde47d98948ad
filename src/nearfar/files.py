"""Files that are whole or not there: a run killed while writing loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into; readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file all at once."""
    with replacing(path) as file:
        file.write(content)


def replace_text(path: Path, content: str) -> None:
    """`replace_bytes` for text."""
    replace_bytes(path, content.encode())
