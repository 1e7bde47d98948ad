"""Who computes a loss, with whom, and how: the options that all losses share."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from nearfar.loss import _check as check
from nearfar.loss._ranks import Group, Ranks, check_group
from nearfar.loss._temperature import Temperature
from nearfar.loss.push import BACKENDS, Backend

Products = Literal["exact", "bf16"]
PRODUCTS = ("exact", "bf16")


def check_engine(group: Group, backend: Backend, products: Products) -> None:
    """Refuse words that are not known.

    Raises:
        NearfarError: The first, with what was wanted.
    """
    check_group(group)
    check.one_of("backend", backend, BACKENDS)
    check.one_of("products", products, PRODUCTS)


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
