"""SigLIP: every pair of image and text is a yes-or-no question."""

from __future__ import annotations

import torch
from torch import Tensor

from nearfar.loss import _check as check
from nearfar.loss._clip import checked_scale
from nearfar.loss._engine import Loss, Products, described
from nearfar.loss._numbers import working
from nearfar.loss._ranks import Group
from nearfar.loss._shard import Shard
from nearfar.loss._sigmoid_rule import Sigmoid
from nearfar.loss._temperature import scale_of
from nearfar.loss._whole import whole
from nearfar.loss.push import Backend, Game


class SigLipLoss(Loss):
    """The sigmoid loss, with open_clip's calling convention (Zhai et al. 2023, arXiv 2303.15343).

    ``-1/N sum_ij log sigmoid(y_ij (scale s_ij + bias))``, y_ij = 1 for a pair and -1 for strangers
    (algorithm 1). There is no softmax: a pair is judged without its crowd. Features are taken as
    given: normalise them first if the model does not.

    Args:
        group: See `info_nce`; so are the others.

    Example:
        >>> loss = SigLipLoss()(torch.eye(2), torch.eye(2), logit_scale=10.0, logit_bias=-10.0)
        >>> round(loss.item(), 4)  # log(1 + e^0) + log(1 + e^-10)
        0.6932
    """

    def __init__(
        self,
        *,
        group: Group = "auto",
        backend: Backend = "auto",
        products: Products = "exact",
    ) -> None:
        super().__init__(group=group, backend=backend, products=products)

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: float | Tensor,
        logit_bias: float | Tensor = 0.0,
        *,
        ids: Tensor | None = None,
    ) -> Tensor:
        """The mean over images of the sum over texts.

        Args:
            image_features: (N, D).
            text_features: (N, D), row i the text of image i.
            logit_scale: 1 / temperature, already exponentiated: a number or a 0-dim tensor.
            logit_bias: Added to every logit; about -log of the batch size at the start.
            ids: (N,) integers; rows with equal ids are never each other's negatives.

        Raises:
            NearfarError: Shapes, dtypes or devices that do not fit, a row that is not finite, a
                ``logit_scale`` that is no positive, finite number, a batch of one.
        """
        scale = checked_scale(logit_scale, image_features)
        if isinstance(logit_bias, Tensor):
            check.single("logit_bias", logit_bias)
        if self.short(image_features, text_features, ids):
            small = self._small(image_features, text_features, scale, logit_bias, ids)
            if small is not None:
                return small
        check.matrix("image_features", image_features)
        check.matrix("text_features", text_features, image_features, "image_features")
        if ids is not None:
            check.integer_ids("ids", ids, image_features, "image_features")
        shard = Shard(image_features, self.group)
        check.several(shard.total > 1)
        image, text = working(image_features), working(text_features)
        bias = torch.as_tensor(logit_bias, dtype=image.dtype, device=image.device).reshape(())
        crowd = shard.strangers(ids)
        if ids is not None and crowd.column_id is not None and check.readable():
            check.several(bool((crowd.column_id != crowd.column_id[0]).any()))
        game = Game(
            query=image,
            key=text,
            scale=scale_of(1 / scale, image),
            crowd=crowd,
            partners=slice(0, len(image)),
            bf16=self.products == "bf16",
        )
        total = shard.sigmoid_sum(game, bias, self.backend)
        loss = shard.ranks.total(total, shard.rows, mean=True)
        inputs = {"image_features": image_features, "text_features": text_features}
        return check.finite_loss(loss, game.scale, **inputs, logit_bias=bias)

    def _small(
        self,
        image: Tensor,
        text: Tensor,
        scale: float | Tensor,
        bias: float | Tensor,
        ids: Tensor | None,
    ) -> Tensor | None:
        def again(
            image: Tensor, text: Tensor, scale: float | Tensor, learned: Tensor | None
        ) -> Tensor:
            long = SigLipLoss(group=None, backend="dense")
            return long(image, text, scale, bias if learned is None else learned, ids=ids)  # type: ignore[no-any-return]

        learned = bias if isinstance(bias, Tensor) else None
        rule = Sigmoid(bias.item() if isinstance(bias, Tensor) else bias, ids)
        return whole(rule, image, text, scale, again, normalize=False, bias=learned)

    def extra_repr(self) -> str:
        return described(None, **self.engine)
