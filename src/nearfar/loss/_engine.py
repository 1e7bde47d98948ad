"""Who computes a loss, with whom, and how: the options that all losses share."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._ranks import Group, Ranks, check_group, initialised
from nearfar.loss._temperature import Temperature
from nearfar.loss.push import BACKENDS, Backend

Products = Literal["exact", "bf16"]
PRODUCTS = ("exact", "bf16")
# Rows up to which nothing is won by products in bfloat16.
EXACT_TO = 1024


def check_engine(group: Group, backend: Backend, products: Products) -> None:
    """Refuse words that are not known, or not together.

    Raises:
        NearfarError: The first, with what was wanted.
    """
    check_group(group)
    check.one_of("backend", backend, BACKENDS)
    check.one_of("products", products, PRODUCTS)
    if (backend, products) == ("dense", "bf16"):
        raise NearfarError(
            "products='bf16' with backend='dense' is not defined: it is the exact reference. "
            "Wanted backend='auto', 'tiled' or 'triton'."
        )


def short(
    query: Tensor,
    key: Tensor,
    ids: Tensor | None,
    group: Group,
    backend: Backend,
    products: Products,
) -> bool:
    """The short way may be tried: one rank, on a CPU, and nobody asks for more or looks on.

    What is said of bad input, unknown words included, is said on the long way.
    """
    shape = query.shape
    return (
        shape == key.shape
        and len(shape) == 2
        and shape[0] > 1
        and shape[1] > 0
        and query.dtype is key.dtype
        and query.is_floating_point()
        and query.is_cpu
        and key.is_cpu
        and backend == "auto"
        and (products == "exact" or (products == "bf16" and shape[0] <= EXACT_TO))
        and (ids is None or (ids.is_cpu and check.one_each(ids, query)))
        and (group is None or (group in ("auto", "ring") and not initialised()))
        and not check.traced()
    )


class Loss(nn.Module):
    """What all losses share: with whom, by whom and how they are computed."""

    def __init__(self, *, group: Group, backend: Backend, products: Products) -> None:
        super().__init__()
        check_engine(group, backend, products)
        self.group, self.backend, self.products = group, backend, products

    @property
    def engine(self) -> dict[str, Any]:
        """These options by name."""
        return {"group": self.group, "backend": self.backend, "products": self.products}

    def short(self, query: Tensor, key: Tensor, ids: Tensor | None) -> bool:
        """`short` with these options."""
        return short(query, key, ids, self.group, self.backend, self.products)


def described(temperature: Temperature | Tensor | float | None, **options: Any) -> str:
    """One line for repr: the options that are on, and what 'auto' comes to now."""
    first = {} if temperature is None else {"temperature": temperature}
    on = {name: value for name, value in options.items() if value not in (None, False, 0.0)}
    text = ", ".join(f"{name}={value!r}" for name, value in (first | on).items())
    if on.get("backend") == "auto":
        text = text.replace(
            "backend='auto'",
            "backend='auto' (triton on CUDA, tiled elsewhere, dense inside transforms)",
        )
    if "group" in options:
        size = Ranks(options["group"]).size
        text += f" ({size} rank{'s' if size > 1 else ''})"
    return text
