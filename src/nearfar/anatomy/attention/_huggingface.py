"""Hugging Face models attend by name: ours looks, and calls the one that they had."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nearfar.anatomy.attention._energy import AttentionEnergy, attention_energy
from nearfar.errors import NearfarError

if TYPE_CHECKING:
    from nearfar.anatomy.attention._record import Recorder

PREFIX = "nearfar_"
KNOWN = ("eager", "sdpa")
# Those whose block is open. transformers knows no way to take a function's name back, so what is
# registered is always the same and finds its listeners here.
_LISTENING: list[Recorder] = []


def models(module: nn.Module) -> Iterator[Any]:
    """The outermost Hugging Face models inside a module, which may be one itself."""
    if hasattr(module, "set_attn_implementation"):
        yield module
        return
    for child in module.children():
        yield from models(child)


@contextmanager
def switched(model: Any, recorder: Recorder) -> Iterator[None]:
    """Let the recorder see every attention of the model, then put back what it had.

    Raises:
        NearfarError: It attends by an implementation that we do not know.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    masks = AttentionMaskInterface()  # type: ignore[no-untyped-call]
    for name in KNOWN:
        AttentionInterface.register(PREFIX + name, partial(_attend, name))
        AttentionMaskInterface.register(PREFIX + name, masks[name])
    former = _implementations(model.config)
    ours = _renamed(former)
    _LISTENING.append(recorder)
    try:
        model.set_attn_implementation(ours)
        yield
    finally:
        model.set_attn_implementation(former)
        _LISTENING.remove(recorder)


def _implementations(config: Any) -> dict[str, Any]:
    """What attends, by the parts of a composed model; "" is the whole."""
    found = {"": config._attn_implementation}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None:
            inner = _implementations(part)
            found[name] = inner if len(inner) > 1 else inner[""]
    return found


def _renamed(former: dict[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for part, name in former.items():
        if isinstance(name, dict):
            ours[part] = _renamed(name)
        elif name is None:
            ours[part] = None
        elif name in KNOWN:
            ours[part] = PREFIX + name
        else:
            raise NearfarError(
                f"The model attends by {name!r}; wanted one of {', '.join(KNOWN)}. Call "
                "model.set_attn_implementation('sdpa') first."
            )
    return ours


def _attend(
    former: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **words: Any,
) -> Any:
    """What transformers calls: the former implementation, looked at."""
    attend = _former(former, module)
    listeners = [recorder for recorder in _LISTENING if recorder.inside]
    if listeners:
        energy = _energy(former, module, query, key, attention_mask, words)
        for recorder in listeners:
            recorder.add(energy)
            recorder.known = True
    try:
        return attend(module, query, key, value, attention_mask, **words)
    finally:
        for recorder in listeners:
            recorder.known = False


def _former(name: str, module: nn.Module) -> Callable[..., Any]:
    """As the module's own file would look it up; eager attention is defined in each of them."""
    for kind in type(module).__mro__:
        file = sys.modules.get(kind.__module__)
        functions = getattr(file, "ALL_ATTENTION_FUNCTIONS", None)
        if functions is not None:
            found = functions.get(name, getattr(file, "eager_attention_forward", None))
            if found is not None:
                attend: Callable[..., Any] = found
                return attend
    raise NearfarError(
        f"{type(module).__name__} has no {name!r} attention that could be found; wanted one. Call "
        "model.set_attn_implementation('sdpa') first."
    )


def _energy(
    former: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    words: dict[str, Any],
) -> AttentionEnergy:
    for word in ("softcap", "s_aux"):
        if words.get(word) is not None:
            raise NearfarError(
                f"{type(module).__name__} attends with {word!r}; wanted plain softmax(scale q . k "
                "+ mask), whose energies these are. This model cannot be recorded."
            )
    causal = False
    if former == "sdpa" and mask is None and query.shape[-2] > 1:
        # Without a mask, transformers asks the module.
        asked = words.get("is_causal")
        causal = bool(getattr(module, "is_causal", True) if asked is None else asked)
    bias = words.get("position_bias")
    if bias is not None and mask is not None:
        mask = bias.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else bias + mask
    elif bias is not None:
        mask = bias
    return attention_energy(query, key, scale=words.get("scaling"), mask=mask, causal=causal)
