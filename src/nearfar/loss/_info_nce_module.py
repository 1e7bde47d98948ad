"""InfoNCE as a module."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._engine import Loss, Products, described
from nearfar.loss._info_nce import REDUCTIONS, NegativeMode, Reduction, info_nce
from nearfar.loss._ranks import Group
from nearfar.loss._temperature import Temperature, as_temperature
from nearfar.loss._weights import Form
from nearfar.loss.push import Backend


class InfoNCE(Loss):
    """`info_nce` as a module that owns its temperature and its options.

    Args:
        temperature: A number or a `Temperature`.
        reduction: See `info_nce`; so are the others.

    Example:
        >>> import torch
        >>> loss = InfoNCE(Temperature(0.07, learnable=True))
        >>> loss(torch.eye(4), torch.eye(4)).ndim
        0
    """

    def __init__(
        self,
        temperature: float | Temperature = 0.1,
        reduction: Reduction = "mean",
        negative_mode: NegativeMode = "unpaired",
        *,
        symmetric: bool = False,
        in_batch: bool | None = None,
        form: Form = "out",
        similarity_margin: float | None = None,
        margin: float = 0.0,
        hardness: float = 0.0,
        tau_plus: float = 0.0,
        decoupled: bool = False,
        normalize: bool = True,
        group: Group = "auto",
        backend: Backend = "auto",
        products: Products = "exact",
    ) -> None:
        super().__init__(group=group, backend=backend, products=products)
        check.one_of("reduction", reduction, REDUCTIONS)
        check.one_of("negative_mode", negative_mode, ("unpaired", "paired"))
        check.one_of("form", form, ("out", "in"))
        self.temperature = as_temperature(temperature)
        self.options: dict[str, Any] = {
            "reduction": reduction,
            "negative_mode": negative_mode,
            "symmetric": symmetric,
            "in_batch": in_batch,
            "form": form,
            "similarity_margin": similarity_margin,
            "margin": margin,
            "hardness": hardness,
            "tau_plus": tau_plus,
            "decoupled": decoupled,
            "normalize": normalize,
        }

    def forward(
        self,
        query: Tensor,
        positive_key: Tensor,
        negative_keys: Tensor | None = None,
        *,
        ids: Tensor | None = None,
        negative_ids: Tensor | None = None,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """See `info_nce`."""
        return info_nce(
            query,
            positive_key,
            negative_keys,
            self.temperature,
            ids=ids,
            negative_ids=negative_ids,
            weight=weight,
            mask=mask,
            bias=bias,
            **self.options,
            **self.engine,
        )

    def extra_repr(self) -> str:
        return described(self.temperature, **self.options, **self.engine)
