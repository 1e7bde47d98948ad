"""The temperature: fixed, learned or scheduled, and never out of bounds."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nearfar.errors import NearfarError
from nearfar.loss import _check as check


class Temperature(nn.Module):
    """A positive temperature, kept as its logarithm.

    Args:
        initial: Temperature at the start.
        learnable: Learn it by gradient (Radford et al. 2021, CLIP, section 2.5).
        final: Move from ``initial`` to this along a cosine, in log space, as training advances.
        minimum: Never lower, up to float32 rounding.
        maximum: Never higher, up to float32 rounding.

    Raises:
        NearfarError: A temperature that is not positive, out of bounds, or both learnable and
            scheduled.

    Example:
        >>> temperature = Temperature(0.5, final=0.1)
        >>> temperature.advance(1.0)
        >>> round(float(temperature()), 3)
        0.1
    """

    log: Tensor

    def __init__(
        self,
        initial: float = 0.07,
        *,
        learnable: bool = False,
        final: float | None = None,
        minimum: float = 0.001,
        maximum: float = 10.0,
    ) -> None:
        super().__init__()
        if not 0 < minimum <= maximum < math.inf:
            raise NearfarError(
                f"minimum={minimum}, maximum={maximum}: wanted 0 < minimum <= maximum."
            )
        # By the names that recipes have for them.
        for name, value in (("temperature", initial), ("final_temperature", final)):
            if value is not None and not minimum <= value <= maximum:
                raise NearfarError(
                    f"{name}={value}: wanted a temperature between minimum={minimum} and "
                    f"maximum={maximum}."
                )
        if learnable and final is not None:
            raise NearfarError(
                "A temperature is learnable or scheduled (final=...), not both; leave one out."
            )
        self.initial, self.final = initial, final
        self.minimum, self.maximum, self.learnable = minimum, maximum, learnable
        start = torch.tensor(math.log(initial))
        if learnable:
            self.log = nn.Parameter(start)
        else:
            self.register_buffer("log", start)

    def forward(self) -> Tensor:
        """The temperature now, a 0-dim tensor."""
        if self.learnable:
            # In place: a clamp inside the graph would stop the gradient at the bound for good.
            with torch.no_grad():
                # As data: a graph that was built on it before stays as it is.
                self.log.data.clamp_(math.log(self.minimum), math.log(self.maximum))
        return self.log.exp()

    def advance(self, progress: float) -> None:
        """Follow the schedule, if there is one.

        Args:
            progress: Share of the training that is done, 0 to 1.
        """
        if self.final is not None:
            left = 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
            log = left * math.log(self.initial) + (1 - left) * math.log(self.final)
            self.log.fill_(log)

    def extra_repr(self) -> str:
        kind = "learnable" if self.learnable else f"to {self.final}" if self.final else "fixed"
        return f"{self.log.detach().exp().item():.4g}, {kind}"


def as_temperature(value: float | Tensor | Temperature) -> Temperature | Tensor | float:
    """Refuse what is no temperature.

    Raises:
        NearfarError: A number that is not positive and finite, a tensor of several numbers.
    """
    if isinstance(value, Tensor):
        check.single("temperature", value)
    elif not isinstance(value, Temperature) and not 0 < value < math.inf:
        raise NearfarError(f"temperature={value}: wanted a positive, finite number.")
    return value


def current(value: float | Tensor | Temperature) -> float | Tensor:
    """The number, or the tensor, that divides the similarities now."""
    checked = as_temperature(value)
    return checked() if isinstance(checked, Temperature) else checked


def inverse(value: float | Tensor | Temperature, like: Tensor) -> float | Tensor:
    """1 / temperature: a number as it is given, or a tensor as `scale_of` has it."""
    tau = current(value)
    return scale_of(tau, like) if isinstance(tau, Tensor) else 1 / tau


def scale_of(value: float | Tensor | Temperature, like: Tensor) -> Tensor:
    """1 / temperature, a 0-dim tensor beside ``like``, at least float32."""
    tau = current(value)
    # Before the division: a reciprocal in half precision would be off by 2e-4.
    dtype = torch.promote_types(like.dtype, torch.float32)
    if not isinstance(tau, Tensor):
        return torch.full((), 1 / tau, dtype=dtype, device=like.device)
    return 1 / tau.to(like.device, dtype).reshape(())
