"""The other player's move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nearfar.experiment import Rival, Train
from nearfar.model import Model
from nearfar.pairs import Batch
from nearfar.train._optimiser import optimiser
from nearfar.train._step import Autocast


class Turn:
    """Moves a rival once a step, against the model as it then is.

    Args:
        rival: On the device where it trains.
        model: What it plays against; no gradient stays in it.
        train: The optimiser, as for the model.
        backward: Called with the loss in place of its ``backward()``.
        autocast: The precision of the pass.
    """

    def __init__(
        self,
        rival: Rival,
        model: Model,
        train: Train,
        *,
        backward: Callable[[Tensor], object],
        autocast: Autocast,
    ) -> None:
        self.rival, self._model = rival, model
        self._backward, self._autocast = backward, autocast
        self.optimizer = optimiser([rival], train, rival.betas)

    def __call__(self, batch: Batch, rate: float) -> Tensor:
        """One move at the model's learning rate times the rival's pace; its loss, detached."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.rival.pace
        self.optimizer.zero_grad()
        own = [p for p in self._model.parameters() if p.requires_grad]
        for parameter in own:
            parameter.requires_grad_(False)
        try:
            with self._autocast():
                loss: Tensor = self.rival(self._model, batch)
            self._backward(loss)
        finally:
            for parameter in own:
                parameter.requires_grad_(True)
        self.optimizer.step()
        self.rival.moved()
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"rival": self.rival.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rival.load_state_dict(state["rival"])
        self.optimizer.load_state_dict(state["optimizer"])
