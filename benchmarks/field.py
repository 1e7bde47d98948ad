"""Who competes: a contestant is one implementation of one form of the loss.

It is made from a temperature and called with two (N, D) float32 batches with rows of length one,
row i of one the partner of row i of the other; SupCon with one of (2N, D) that has `labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

Loss = Callable[..., Tensor]
Make = Callable[[float], Loss]

FORMS = ("one-way", "symmetric", "NT-Xent", "SupCon", "SigLIP")
BIAS = -10.0  # of SigLIP
ITEMS_PER_LABEL = 8  # of SupCon, two views each


@dataclass(frozen=True)
class Contestant:
    """One implementation of one form; its library is imported when it is made."""

    form: str
    name: str
    package: str
    make: Make
    buffers: float  # float32 N x N matrices alive at its peak, roughly; 0: memory O(N)
    cubic: float  # float32 N x N x N ones

    def bytes(self, n: int) -> float:
        """A rough estimate of its peak."""
        return 4 * n**2 * (self.buffers + self.cubic * n)

    def version(self) -> str:
        """Of the installed package."""
        return release(self.package)


def release(package: str) -> str:
    """Its version, if it is installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


_entered: list[Contestant] = []


def contestant(
    form: str, name: str, package: str, *, buffers: float = 0.0, cubic: float = 0.0
) -> Callable[[Make], Make]:
    """Enter the function below into the field."""

    def enter(make: Make) -> Make:
        _entered.append(Contestant(form, name, package, make, buffers, cubic))
        return make

    return enter


def field(
    form: str, tau: float, names: Collection[str] = ()
) -> tuple[dict[Contestant, Loss], list[str]]:
    """Everyone, or everyone named, who can compete; nearfar first. And a line on who cannot."""
    import dense  # noqa: F401
    import peers  # noqa: F401

    present, absent = {}, []
    for one in _entered:
        if one.form == form and (not names or one.name in names):
            try:
                present[one] = one.make(tau)
            except (ImportError, AttributeError) as error:
                absent.append(f"{one.name}, {form}: {error}")
    return present, absent


def given(form: str, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
    """What contestants are called with."""
    return (torch.cat([query, key]),) if form == "SupCon" else (query, key)


@cache
def labels(rows: int) -> Tensor:
    """SupCon's, of a batch of two views of each item, one after the other."""
    return (torch.arange(rows // 2) // ITEMS_PER_LABEL).repeat(2)
