"""CLIP: two towers, both directions."""

from __future__ import annotations

import math
import re

from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss import _check as check
from nearfar.loss._engine import Loss, Products, described
from nearfar.loss._info_nce import info_nce
from nearfar.loss._numbers import working
from nearfar.loss._ranks import Group
from nearfar.loss._small import one_node
from nearfar.loss.push import Backend


class ClipLoss(Loss):
    """Symmetric InfoNCE with open_clip's calling convention (Radford et al. 2021, figure 3).

    Features are taken as given: normalise them first if the model does not.

    Args:
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848).
        group: See `info_nce`; so are the others.

    Example:
        >>> import torch
        >>> round(ClipLoss()(torch.eye(2), torch.eye(2), logit_scale=1.0).item(), 4)
        0.3133
    """

    def __init__(
        self,
        *,
        decoupled: bool = False,
        group: Group = "auto",
        backend: Backend = "auto",
        products: Products = "exact",
    ) -> None:
        super().__init__(group=group, backend=backend, products=products)
        self.decoupled = decoupled

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        *,
        ids: Tensor | None = None,
    ) -> Tensor:
        """The mean of image-to-text and text-to-image.

        Args:
            image_features: (N, D).
            text_features: (N, D), row i the text of image i.
            logit_scale: 1 / temperature, already exponentiated: a number or a 0-dim tensor.
            ids: (N,) integers; rows with equal ids are never each other's negatives.

        Raises:
            NearfarError: As `info_nce`; a ``logit_scale`` that is no positive, finite number.
        """
        scale = checked_scale(logit_scale, image_features)
        if self.short(image_features, text_features, ids):
            small = one_node(
                info_nce,
                image_features,
                text_features,
                scale,
                both=True,
                ids=ids,
                decoupled=self.decoupled,
                normalize=False,
            )
            if small is not None:
                return small
        try:
            return info_nce(
                image_features,
                text_features,
                temperature=1 / scale,
                symmetric=True,
                ids=ids,
                decoupled=self.decoupled,
                normalize=False,
                **self.engine,
            )
        except NearfarError as error:
            raise NearfarError(_in_own_words(str(error))) from None

    def extra_repr(self) -> str:
        return described(
            None,
            decoupled=self.decoupled,
            **self.engine,
        )


def checked_scale(logit_scale: float | Tensor, like: Tensor) -> float | Tensor:
    """A positive, finite number, or a tensor of the format that ``like`` is computed in.

    Raises:
        NearfarError: A number that is not, a tensor of several numbers.
    """
    if isinstance(logit_scale, Tensor):
        check.single("logit_scale", logit_scale)
        # A reciprocal in half precision would be off by 2e-4.
        wanted = working(like).dtype
        return logit_scale if logit_scale.dtype is wanted else logit_scale.to(wanted)
    if not 0 < logit_scale < math.inf:
        raise NearfarError(
            f"logit_scale={logit_scale}: wanted a positive, finite number, 1 / temperature."
        )
    return logit_scale


def _in_own_words(message: str) -> str:
    for theirs, ours in (("query", "image_features"), ("positive_key", "text_features")):
        message = re.sub(rf"\b{theirs}\b", ours, message)
    return message
