"""PyTorch Geometric, imported when a graph is there to be read."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from nearfar.errors import NearfarError


@contextmanager
def geometric() -> Iterator[None]:
    """Import parts of it in here.

    Raises:
        NearfarError: It is not installed.
    """
    with warnings.catch_warnings():
        # Its import compiles TorchScript, which torch has deprecated.
        warnings.simplefilter("ignore")
        try:
            yield
        except ModuleNotFoundError as error:
            raise NearfarError(
                "Graphs need PyTorch Geometric, which is not installed: "
                "pip install 'nearfar[graphs]'"
            ) from error
