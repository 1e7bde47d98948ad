"""The game that a client plays against the shared bank."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.experiment import Auxiliary
from nearfar.federate._bank import Crowd
from nearfar.federate._federation import Federation
from nearfar.loss import Temperature, info_nce
from nearfar.model import Model
from nearfar.pairs import Batch


class BankGame(Auxiliary):
    """InfoNCE from a client's queries to the keys of the model that made the bank.

    Partners, the rest of the batch and the bank are all made by one model, which stands still while
    the client learns. Were the partners made by the client's own, moving weights, a client could
    win against the bank by moving all of its vectors away from where the bank's were made, which
    tells nothing apart. He et al. 2020 (MoCo, arXiv 1911.05722, section 4.1) find that training
    fails where the encoder of a queue's keys changes fast.

    Args:
        model: Of the weights that made the bank's newest entries; copied.
        temperature: The recipe's.
        crowd: Others' entries.
        federation: Its ``weight`` and its ``fade``: entry j counts as fade ** age_j of them, since
            log(fade ** age_j) is added to its logit.
    """

    def __init__(
        self, model: Model, temperature: Temperature, crowd: Crowd, federation: Federation
    ) -> None:
        super().__init__()
        self.weight = federation.weight
        self._made = deepcopy(model).requires_grad_(False).eval()
        self._temperature, self._crowd = temperature, crowd
        self._faded = crowd.age.float() * math.log(federation.fade)

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        query = model.head(vectors) if model.head else vectors
        with torch.no_grad():
            key = self._made(batch.key)
        query, key = functional.normalize(query.float()), functional.normalize(key.float())
        crowd = self._crowd.keys.to(query)
        if self._faded.any():
            # One more number a vector: 1 for a query, 0 for a key, and what the logit needs for
            # an entry of the bank.
            more = self._faded.to(query) * self._temperature()
            query, key = functional.pad(query, (0, 1), value=1.0), functional.pad(key, (0, 1))
            crowd = torch.cat([crowd, more[:, None]], 1)
        return info_nce(
            query,
            key,
            crowd,
            self._temperature,
            in_batch=True,
            ids=batch.ids,
            weight=batch.weight,
            mask=batch.mask,
            normalize=False,
        )
