"""CLIP: two towers, both directions."""

from __future__ import annotations

import math

from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss._dense import working
from nearfar.loss._info_nce import info_nce


class ClipLoss(nn.Module):
    """Symmetric InfoNCE with open_clip's calling convention (Radford et al. 2021, figure 3).

    Features are taken as given: normalise them first if the model does not.

    Args:
        decoupled: Positives leave the denominator (Yeh et al. 2022, arXiv 2110.06848).

    Example:
        >>> import torch
        >>> round(ClipLoss()(torch.eye(2), torch.eye(2), logit_scale=1.0).item(), 4)
        0.3133
    """

    def __init__(self, *, decoupled: bool = False) -> None:
        super().__init__()
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
        if isinstance(logit_scale, Tensor):
            # A reciprocal in half precision would be off by 2e-4.
            logit_scale = working(logit_scale)
        elif not 0 < logit_scale < math.inf:
            raise NearfarError(
                f"logit_scale={logit_scale}: wanted a positive, finite number, 1 / temperature."
            )
        return info_nce(
            image_features,
            text_features,
            temperature=1 / logit_scale,
            symmetric=True,
            ids=ids,
            decoupled=self.decoupled,
            normalize=False,
        )
