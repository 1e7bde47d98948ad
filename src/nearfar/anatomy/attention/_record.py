"""Look at every head of a model while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nearfar.anatomy.attention._energy import AttentionEnergy, attention_energy
from nearfar.anatomy.attention._huggingface import models, switched
from nearfar.errors import NearfarError

Energies = dict[str, list[AttentionEnergy]]


@contextmanager
def record_energies(model: nn.Module) -> Iterator[Energies]:
    """Collect the energies of every attention inside ``model`` that runs inside the block.

    Two ways, both of which leave the model's outputs as they are (the recorder only looks; the
    fast path of nn.TransformerEncoderLayer, which is switched off, rounds differently):

    * A Hugging Face model (also one inside ``model``) is switched to an attention of ours that
      looks and then calls the one it had, ``eager`` or ``sdpa``. Dropout comes after the weights
      that are recorded.
    * Elsewhere, calls of torch's scaled_dot_product_attention are seen where the dispatcher
      chooses a fused kernel.

    What it cannot see outside of Hugging Face models: nn.MultiheadAttention called with
    ``need_weights`` (its default), attention made of plain products and softmax, and calls that
    take torch's unfused path: on a CPU that is dropout in training, tensors that are not
    4-dimensional and masks that want a gradient. Nor does it see into compiled graphs. Seeing none
    at all is an error; seeing some is not. Layers that a checkpoint runs again in a backward pass
    inside the block are recorded again.

    It makes a second pass over every head's logits, which can double the time of a forward pass:
    for looking, not for every step.

    Args:
        model: Any module; calls from outside it are not recorded.

    Yields:
        By the name of the module that attends (as in ``model.named_modules()``), an
        `AttentionEnergy` of (batch, heads, queries) for each of its calls, in order.

    Raises:
        NearfarError: No attention was seen, or a Hugging Face model attends in a way that is not
            softmax(scale q . k + mask), or by an implementation other than ``eager`` and ``sdpa``.

    Example:
        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
        >>> with record_energies(layer) as found:
        ...     out = layer(torch.randn(3, 5, 8))
        >>> [(name, tuple(calls[0].entropy.shape)) for name, calls in found.items()]
        [('self_attn', (3, 2, 5))]
    """
    recorder = Recorder()
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            stack.callback(module.register_forward_pre_hook(partial(recorder.enter, name)).remove)
            # Also after an error, so that names and modules stay together.
            left = module.register_forward_hook(recorder.leave, always_call=True)
            stack.callback(left.remove)
        for outermost in models(model):
            stack.enter_context(switched(outermost, recorder))
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        stack.enter_context(recorder)
        yield recorder.found
    if not recorder.found:
        raise NearfarError(
            f"record_energies saw no attention in {type(model).__name__}; wanted a forward pass "
            "inside the block, through scaled_dot_product_attention or a Hugging Face model. Call "
            "model.eval(), or need_weights=False; its docstring says what cannot be seen."
        )


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of torch that runs inside its block, below autograd.

    Attributes:
        found: The energies by module.
        inside: Names of the modules that are running, the innermost last.
        known: What runs now has been recorded.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Energies = {}
        self.inside: list[str] = []
        self.known = False

    def enter(self, name: str, module: nn.Module, args: object) -> None:
        """A module begins."""
        self.inside.append(name)

    def leave(self, module: nn.Module, args: object, output: object) -> None:
        """The innermost module ends."""
        self.inside.pop()

    def add(self, energy: AttentionEnergy) -> None:
        """One call of the innermost module."""
        self.found.setdefault(self.inside[-1], []).append(energy)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.inside and not self.known and _attends(func):
            names = [argument.name for argument in func._schema.arguments]
            given = dict(zip(names, args, strict=False)) | kwargs
            mask = given.get("attn_mask", given.get("attn_bias"))
            self.add(
                attention_energy(
                    given["query"],
                    given["key"],
                    scale=given.get("scale"),
                    mask=mask,
                    causal=given.get("is_causal", False),
                )
            )
        return func(*args, **kwargs)


def _attends(func: Any) -> bool:
    """A forward kernel of torch's scaled_dot_product_attention, whichever the device's is."""
    if not isinstance(func, torch._ops.OpOverload):
        return False
    name = func._schema.name
    return "scaled_dot_product" in name and "backward" not in name
