"""Files that are whole or not there: a run killed while writing loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nearfar.errors import NearfarError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write into; readers see the old content or the new, never a part.

    Raises:
        NearfarError: It cannot be written; where that is known at once, nothing has been done.
    """
    if path.is_dir():
        raise NearfarError(f"{str(path)!r} is a folder; wanted a file in it, or beside it.")
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        # What is read while this is open may fail, too: it names another file, or has no number.
        own = (None, str(draft), *map(str, path.parents))
        if error.errno is None or error.filename not in own:
            raise
        raise NearfarError(
            f"{str(path)!r} cannot be written: {error.strerror}. Wanted a folder that you may "
            "write in, with room on its disk."
        ) from error


@contextmanager
def reading(path: Path, mend: str, kind: type[NearfarError] = NearfarError) -> Iterator[None]:
    """Within the block, whatever a damaged file brings about is an error that names it.

    Args:
        path: What is read.
        mend: What to do where that fails.
        kind: The error's.

    Raises:
        NearfarError: It cannot be read.
    """
    try:
        yield
    except (NearfarError, PermissionError):
        raise
    except Exception as error:  # libraries raise all kinds of them at bytes that make no sense
        why = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{str(path)!r} is damaged ({why}). {mend}") from error


def replace_bytes(path: Path, content: bytes) -> None:
    """Write a file all at once."""
    with replacing(path) as file:
        file.write(content)


def replace_text(path: Path, content: str) -> None:
    """`replace_bytes` for text."""
    replace_bytes(path, content.encode())
