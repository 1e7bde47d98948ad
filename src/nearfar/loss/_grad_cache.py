"""GradCache: the whole batch's loss with the memory of one chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nearfar.errors import NearfarError
from nearfar.loss._numbers import working

Inputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
_Chunk = tuple[tuple[Tensor, ...], dict[str, Tensor]]


class GradCache:
    """Gradients of a batch too large to encode at once (Gao et al. 2021, arXiv 2101.06983).

    In three steps: encode the batch in chunks without a graph; take the loss of all representations
    and its gradient by them; encode each chunk again, with a graph, and push its part of that
    gradient through. Gradients are those of the whole batch; the price is one more forward pass.

    The second pass replays dropout and begins with the same buffers. Batch norm sees one chunk at a
    time: its statistics, and with them the gradients, are the chunk's and not the batch's.

    Under DistributedDataParallel every wrapped module synchronises once, in its last chunk, and
    parameters of the loss that live in it take part.

    Args:
        encoder: Encodes queries: (n, ...) to representations (n, ...).
        loss: ``loss(query, key, **loss_kwargs)``, a scalar. All that it depends on gets its
            gradient, a learnable temperature too.
        chunk_size: Rows that are encoded at once, at most; a batch is cut evenly.
        key_encoder: Encodes keys; by default ``encoder``. One without parameters that learn (a
            `MomentumEncoder`) runs once.
        backward: Called with a scalar for each chunk in place of its ``backward()``, to scale it:
            ``fabric.backward``, or ``lambda x: scaler.scale(x).backward()``.

    Raises:
        NearfarError: A ``chunk_size`` below one.

    Example:
        >>> from nearfar import InfoNCE
        >>> encoder, x = nn.Linear(3, 2), torch.eye(3)
        >>> loss = GradCache(encoder, InfoNCE(), chunk_size=2)(x, x + 1)
        >>> loss.requires_grad, encoder.weight.grad is None
        (False, False)
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: Callable[..., Tensor],
        chunk_size: int,
        key_encoder: nn.Module | None = None,
        *,
        backward: Callable[[Tensor], object] = Tensor.backward,
    ) -> None:
        if chunk_size < 1:
            raise NearfarError(f"chunk_size={chunk_size}: wanted 1 or more rows at a time.")
        self.encoder = encoder
        self.key_encoder = encoder if key_encoder is None else key_encoder
        self.loss, self.chunk_size, self.backward = loss, chunk_size, backward

    def __call__(self, query_input: Inputs, key_input: Inputs, **loss_kwargs: Any) -> Tensor:
        """Compute the loss and add its gradients to every ``.grad``.

        Args:
            query_input: A tensor (N, ...), or a tuple or dict of tensors (N, ...) that become the
                encoder's arguments.
            key_input: Likewise for the keys.
            loss_kwargs: Passed to the loss, whole.

        Returns:
            The loss, detached. Call this inside an autocast context if there is one; backward
            passes step out of it. The loss sees representations in their own dtype, but float16 as
            float32: a gradient in float16 would underflow before a scaler gets to see it.

        Raises:
            NearfarError: Inputs that are not tensors of one length, an encoder that does not return
                a row for each, a loss that is no scalar or that nothing can learn from.
        """
        queries = _cut("query_input", query_input, self.chunk_size)
        keys = _cut("key_input", key_input, self.chunk_size)
        jobs = [(self.encoder, chunk) for chunk in queries]
        jobs += [(self.key_encoder, chunk) for chunk in keys]
        learning = {e for e in (self.encoder, self.key_encoder) if _learns(e)}
        randomness = _Randomness((self.encoder, self.key_encoder))

        rows, states = [], []
        with torch.no_grad(), _same_buffers(learning):
            for encoder, chunk in jobs:
                states.append(randomness.state())
                rows.append(_encode(encoder, chunk))

        query = _whole(rows[: len(queries)]).requires_grad_(self.encoder in learning)
        key = _whole(rows[len(queries) :]).requires_grad_(self.key_encoder in learning)
        loss = self.loss(query, key, **loss_kwargs)
        grads = _gradients(loss)
        cached = [
            *grads.pop(query, torch.zeros_like(query)).tensor_split(len(queries)),
            *grads.pop(key, torch.zeros_like(key)).tensor_split(len(keys)),
        ]

        after = randomness.state()
        last = {module: at for at, (encoder, _) in enumerate(jobs) for module in _wrapped(encoder)}
        for at, (encoder, chunk) in enumerate(jobs):
            if encoder in learning:
                with ExitStack() as silent:
                    for module in (module for module, end in last.items() if end > at):
                        silent.enter_context(module.no_sync())
                    randomness.restore(states[at])
                    pairs = [(_encode(encoder, chunk), cached[at])]
                    for module in (module for module, end in last.items() if end == at):
                        pairs += _all_of(module, grads)
                    self._push(pairs)
        randomness.restore(after)
        self._push(list(grads.items()))
        return loss.detach()

    def _push(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Go back from a scalar whose gradient by the first of each pair is the second."""
        if pairs:
            with torch.autocast(pairs[0][0].device.type, enabled=False):
                parts = [(working(x) * working(grad)).sum() for x, grad in pairs]
                self.backward(sum(parts[1:], parts[0]))


class _Randomness:
    """The generators of the CPU and of the encoders' devices."""

    def __init__(self, encoders: Iterable[nn.Module]) -> None:
        devices = {p.device for encoder in encoders for p in encoder.parameters()}
        self._devices = [device for device in devices if device.type != "cpu"]

    def state(self) -> list[Tensor]:
        others = [torch.get_device_module(d).get_rng_state(d) for d in self._devices]
        return [torch.get_rng_state(), *others]

    def restore(self, state: list[Tensor]) -> None:
        torch.set_rng_state(state[0])
        for device, own in zip(self._devices, state[1:], strict=True):
            torch.get_device_module(device).set_rng_state(own, device)


def _cut(name: str, inputs: Inputs, size: int) -> list[_Chunk]:
    """Arguments of the encoder for each chunk, all but evenly long."""
    every = inputs if isinstance(inputs, Mapping | tuple | list) else (inputs,)
    columns = [*(every.values() if isinstance(every, Mapping) else every)]
    lengths = {len(x) if isinstance(x, Tensor) and x.ndim else None for x in columns}
    rows = lengths.pop() if len(lengths) == 1 else None
    if not rows:
        got = ", ".join(map(_described, columns))
        raise NearfarError(
            f"{name} holds {got or 'nothing'}; wanted a tensor, or a tuple or dict of tensors, "
            "with the same number of rows, 1 or more."
        )
    parts = zip(*(x.tensor_split(math.ceil(rows / size)) for x in columns), strict=True)
    if isinstance(inputs, Mapping):
        return [((), dict(zip(inputs, part, strict=True))) for part in parts]
    return [(part, {}) for part in parts]


def _encode(encoder: nn.Module, chunk: _Chunk) -> Tensor:
    args, kwargs = chunk
    out = encoder(*args, **kwargs)
    rows = len([*args, *kwargs.values()][0])
    if not isinstance(out, Tensor) or out.shape[:1] != (rows,):
        raise NearfarError(
            f"encoder returned {_described(out)} for {rows} rows; wanted a tensor ({rows}, ...). "
            "Wrap it in a module that picks out the representation."
        )
    return out


def _whole(rows: list[Tensor]) -> Tensor:
    out = torch.cat(rows)
    return out.float() if out.dtype == torch.float16 else out


def _gradients(loss: Tensor) -> dict[Tensor, Tensor]:
    """The gradient by everything that the loss depends on and that asks for it."""
    if not isinstance(loss, Tensor) or loss.ndim:
        raise NearfarError(
            f"loss returned {_described(loss)}; wanted a scalar tensor: reduction='mean'."
        )
    if loss.grad_fn is None:
        raise NearfarError(
            "loss depends on nothing that learns; wanted an encoder or a temperature with "
            "parameters that require a gradient, and no torch.no_grad() around the call."
        )
    leaves: list[Tensor] = []
    seen, ahead = {loss.grad_fn}, [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        new = {after for after, _ in node.next_functions if after is not None} - seen
        seen |= new
        ahead += new
    with torch.autocast(loss.device.type, enabled=False):
        found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return {x: grad for x, grad in zip(leaves, found, strict=True) if grad is not None}


def _described(x: object) -> str:
    return str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__


def _learns(encoder: nn.Module) -> bool:
    return any(p.requires_grad for p in encoder.parameters())


def _wrapped(encoder: nn.Module) -> list[DistributedDataParallel]:
    return [module for module in encoder.modules() if isinstance(module, DistributedDataParallel)]


def _all_of(module: nn.Module, grads: dict[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """All parameters with the loss's own gradient by them, taken out of ``grads``, or zero.

    A wrapped module waits for each of its parameters before it synchronises, also for those that
    the last chunk does not use.
    """
    learning = [p for p in module.parameters() if p.requires_grad]
    return [(p, grads.pop(p, p.new_zeros(()))) for p in learning]


@contextmanager
def _same_buffers(encoders: Iterable[nn.Module]) -> Iterator[None]:
    """Put buffers back: what comes again counts once in batch norm's running statistics."""
    buffers = [buffer for encoder in encoders for buffer in encoder.buffers()]
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, old in zip(buffers, before, strict=True):
            buffer.copy_(old)
