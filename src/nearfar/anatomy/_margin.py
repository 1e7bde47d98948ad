"""The crowd's margin: how far a partner must stand out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nearfar.anatomy._game import Game
from nearfar.errors import NearfarError


@dataclass(frozen=True, kw_only=True)
class Margin:
    """The effective margin m = beta + temperature ln K, and four readings of the loss from it.

    Means over the queries; losses in nats; K counts negatives.

    Attributes:
        alpha: s_+, the partner's similarity.
        level: beta, the crowd's log-mean-exp level.
        effective: m = beta + temperature ln K.
        exact: The loss, which is softplus((m - alpha) / temperature) with this beta, for any crowd.
        hinge: max(0, m - alpha) / temperature; at most ln 2 below it, whatever K is.
        mean_field: The softplus with the plain mean similarity in place of beta: too small by
            about sigma^2 / (2 temperature^2), which no larger K cures.
        second_order: With mean + sigma^2 / (2 temperature): right for nearly Gaussian similarities
            that are not frozen.
        spread: sigma / temperature.
        effective_negatives: 1 / sum_j p_j^2 over the negatives.
        frozen: Share of queries with sigma / temperature > sqrt(2 ln K), where a few hardest
            negatives decide everything (the freezing point of the random-energy model, Derrida
            1981) and the second-order reading fails.
    """

    alpha: float
    level: float
    effective: float
    exact: float
    hinge: float
    mean_field: float
    second_order: float
    spread: float
    effective_negatives: float
    frozen: float

    @property
    def errors(self) -> dict[str, float]:
        """How far each reading is from the loss, in nats."""
        readings = ("hinge", "mean_field", "second_order")
        return {name: getattr(self, name) - self.exact for name in readings}


def margin(game: Game) -> Margin:
    """Read the margin off a game; every reading is taken query by query, then averaged.

    Args:
        game: From `play`.

    Example:
        >>> from nearfar.anatomy import play
        >>> found = margin(play(torch.eye(8), torch.eye(8), 0.5))
        >>> round(found.effective, 4) == round(0.5 * math.log(7), 4)  # all strangers at 0
        True
        >>> abs(found.errors["mean_field"]) < 1e-6
        True
    """
    tau, count = game.temperature, game.negatives.to(game.loss.dtype)
    effective = game.level + tau * count.log()

    def reading(level: Tensor) -> float:
        return softplus((level + tau * count.log() - game.positive) / tau).mean().item()

    spread = game.deviation / tau
    return Margin(
        alpha=game.positive.mean().item(),
        level=game.level.mean().item(),
        effective=effective.mean().item(),
        exact=reading(game.level),
        hinge=((effective - game.positive) / tau).clamp_min(0).mean().item(),
        mean_field=reading(game.mean),
        second_order=reading(game.mean + game.deviation.square() / (2 * tau)),
        spread=spread.mean().item(),
        effective_negatives=(1 / game.concentration).mean().item(),
        frozen=(spread > (2 * count.log()).sqrt()).double().mean().item(),
    )


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x); torch's own turns linear at 20, 2e-9 too early."""
    return torch.logaddexp(x, torch.zeros_like(x))


def negatives_for(effective_margin: float, level: float, temperature: float) -> float:
    """How many negatives at ``level`` make this margin: K = exp((m - beta) / temperature).

    Args:
        effective_margin: m, what a partner's similarity shall exceed.
        level: beta, the crowd's level.
        temperature: The loss's.

    Raises:
        NearfarError: A temperature that is not positive.

    Example:
        >>> round(negatives_for(0.5, 0.0, 0.1))
        148
    """
    if not temperature > 0:
        raise NearfarError(f"temperature={temperature}: wanted a positive number.")
    return math.exp((effective_margin - level) / temperature)
