"""Harmony: do two objectives pull the shared parameters the same way?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nearfar.errors import NearfarError
from nearfar.loss._ranks import Group, Ranks


@dataclass(frozen=True, kw_only=True)
class Accord:
    """Two gradients by the same parameters.

    Attributes:
        cosine: Between them, -1 (opposed) to 1; 0 where one of them is zero.
        norms: The length of each.
    """

    cosine: float
    norms: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How many times the first is longer than the second; inf where the second is zero."""
        first, second = self.norms
        return first / second if second else float("inf")

    @property
    def conflict(self) -> bool:
        """A small step down the one raises the other."""
        return self.cosine < 0


@dataclass(frozen=True, kw_only=True)
class Harmony(Accord):
    """Of all shared parameters, and layer by layer.

    Attributes:
        names: What the two objectives are called.
        layers: By the name of the module that owns the parameters.
    """

    names: tuple[str, str]
    layers: dict[str, Accord]


def harmony(
    losses: Mapping[str, Tensor] | Sequence[Tensor],
    parameters: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
    *,
    group: Group = "auto",
) -> Harmony:
    """Cosine and length of the gradients of two objectives, by two backward passes.

    cos(g, h) = g . h / (|g| |h|); below zero the objectives conflict (Yu et al. 2020, arXiv
    2001.06782, definition 1). Parameters that one of the losses does not reach, such as heads of
    its own, are no matter for harmony and left out. Neither ``.grad`` nor the graph is touched: the
    step may go on with ``(a + b).backward()``.

    A cosine is of gradients on one batch, noise and all. Measure the noise by the same function:
    the harmony of *one* objective on two independent batches (see `HarmonyRecord`).

    A loss divided by a temperature has a gradient as many times longer, and Adam's step is not
    along the gradient. Both losses should come from one forward pass, or dropout and views differ
    between them.

    Args:
        losses: Two scalars with a graph, by name, or in order (called ``first`` and ``second``).
        parameters: By name, such as ``model.named_parameters()``; those without
            ``requires_grad`` are left out.
        group: Whose gradients: by default the mean of all ranks', as DistributedDataParallel takes
            it, and all of them call this; None for this rank's own.

    Raises:
        NearfarError: Not two losses, a loss that is no differentiable scalar, or no parameter that
            both reach.

    Example:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> up = layer(torch.ones(1, 2)).sum()
        >>> found = harmony({"up": up, "down": -2 * up}, layer.named_parameters())
        >>> round(found.cosine, 4), round(found.ratio, 4), found.conflict
        (-1.0, 0.5, True)
    """
    if len(losses) != 2:
        raise NearfarError(f"losses are {len(losses)}; wanted two. Compare more pair by pair.")
    if not isinstance(losses, Mapping):
        losses = dict(zip(("first", "second"), losses, strict=True))
    for name, loss in losses.items():
        if loss.numel() != 1 or not loss.requires_grad:
            raise NearfarError(
                f"losses[{name!r}] has shape {tuple(loss.shape)} and requires_grad="
                f"{loss.requires_grad}; wanted one number with a graph to the parameters."
            )
    pairs = parameters.items() if isinstance(parameters, Mapping) else parameters
    wanted = {name: x for name, x in pairs if x.requires_grad}
    if not wanted:
        raise NearfarError("parameters has none with requires_grad; wanted at least one.")
    ranks = Ranks(group)
    first, second = (
        [
            None if x is None else ranks.mean(x)
            for x in torch.autograd.grad(
                loss.reshape(()), list(wanted.values()), retain_graph=True, allow_unused=True
            )
        ]
        for loss in losses.values()
    )
    sums: dict[str, Tensor] = {}
    for name, a, b in zip(wanted, first, second, strict=True):
        if a is not None and b is not None:
            layer = name.rpartition(".")[0]
            sums[layer] = sums[layer] + _products(a, b) if layer in sums else _products(a, b)
    one, other = losses
    if not sums:
        raise NearfarError(
            f"parameters has none that both {one!r} and {other!r} reach; wanted the shared part of "
            "the model, such as encoder.named_parameters()."
        )
    # Together, so that a GPU is waited for once.
    device = next(iter(sums.values())).device
    table = torch.stack([x.to(device) for x in sums.values()]).cpu().double()
    whole = _accord(table.sum(0))
    return Harmony(
        cosine=whole.cosine,
        norms=whole.norms,
        names=(one, other),
        layers={layer: _accord(row) for layer, row in zip(sums, table, strict=True)},
    )


def _products(a: Tensor, b: Tensor) -> Tensor:
    """a . b, a . a, b . b, (3,)."""
    kind = torch.promote_types(a.dtype, torch.float32)
    a, b = a.flatten().to(kind), b.flatten().to(kind)
    return torch.stack([a @ b, a @ a, b @ b])


def _accord(products: Tensor) -> Accord:
    both, first, second = products.tolist()
    lengths = first**0.5, second**0.5
    whole = lengths[0] * lengths[1]
    return Accord(cosine=max(-1.0, min(1.0, both / whole)) if whole else 0.0, norms=lengths)


@dataclass
class HarmonyRecord:
    """Harmony over time, beside what noise alone would show.

    The floor is the harmony of *one* objective on two independent batches. With gradients of a true
    part m and independent noise of total variance s^2, its cosine is about f = |m|^2 / (|m|^2 +
    s^2), and the cosine of two objectives on batches of their own is the true one shrunk by
    sqrt(f f'). Where f is small, cosines are small whatever is true, and a share of conflicts like
    the floor's own says nothing: one objective does not conflict with itself.

    Attributes:
        steps: In the order of time.
        floors: As many as were measured.

    Example:
        >>> layer = torch.nn.Linear(3, 1)
        >>> record = HarmonyRecord()
        >>> for _ in range(4):
        ...     a, b = (layer(torch.randn(8, 3)).square().mean() for _ in range(2))
        ...     record.add(harmony((a, layer(torch.zeros(1, 3)).sum()), layer.named_parameters()),
        ...                floor=harmony((a, b), layer.named_parameters()))
        >>> 0 <= record.conflicts <= 1, record.floor_cosine is not None
        (True, True)
    """

    steps: list[Harmony] = field(default_factory=list)
    floors: list[Harmony] = field(default_factory=list)

    def add(self, found: Harmony, floor: Harmony | None = None) -> None:
        """One step, and what noise showed at it if that was measured."""
        self.steps.append(found)
        if floor is not None:
            self.floors.append(floor)

    @property
    def cosine(self) -> float:
        """Mean over the steps; nan before the first."""
        return _mean([step.cosine for step in self.steps])

    @property
    def conflicts(self) -> float:
        """Share of steps with a cosine below zero; nan before the first."""
        return _mean([step.conflict for step in self.steps])

    @property
    def floor_cosine(self) -> float | None:
        """Mean of the floor, None where it was never measured."""
        return _mean([floor.cosine for floor in self.floors]) if self.floors else None

    @property
    def floor_conflicts(self) -> float | None:
        """Share of the floor's cosines below zero, None where it was never measured."""
        return _mean([floor.conflict for floor in self.floors]) if self.floors else None

    def layer_conflicts(self) -> dict[str, float]:
        """Share of conflicts of each layer, over the steps in which both objectives reached it."""
        seen: dict[str, list[float]] = {}
        for step in self.steps:
            for layer, accord in step.layers.items():
                seen.setdefault(layer, []).append(accord.conflict)
        return {layer: _mean(values) for layer, values in seen.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
