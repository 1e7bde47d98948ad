"""Which backend plays a game, and why."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch

from nearfar.errors import NearfarError
from nearfar.loss._check import traced
from nearfar.loss.push._game import Game

Backend = Literal["auto", "dense", "tiled", "triton"]
BACKENDS = ("auto", "dense", "tiled", "triton")
LOG = logging.getLogger("nearfar.loss")


def choose(game: Game, wanted: Backend) -> Backend:
    """The backend's name; the reason goes to the debug log of ``nearfar.loss``.

    Raises:
        NearfarError: The wanted backend cannot do this; the message says which can.
    """
    if wanted != "auto":
        reason = _REFUSALS[wanted](game)
        if reason:
            other = "dense" if _not_tiled(game) else "tiled"
            raise NearfarError(
                f"backend={wanted!r} cannot be used here: {reason}. "
                f"Wanted backend={other!r}, or 'auto', which chooses by itself."
            )
        return wanted
    reasons = []
    for name, refuse in _REFUSALS.items():
        reason = refuse(game)
        if reason is None:
            break
        reasons.append(f"not {name}: {reason}")
    if not torch.compiler.is_compiling():
        LOG.debug("%s for %s x %s; %s", name, len(game.query), len(game.keys), "; ".join(reasons))
    return name


def _not_triton(game: Game) -> str | None:
    if game.query.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"its kernels run on CUDA, and the tensors are on {game.query.device}"
    if not game.crowd.by_ids_alone:
        return "the crowd is told by more than ids"
    if game.query.dtype != torch.float32:
        return f"its kernels compute in float32, and the tensors are {game.query.dtype}"
    if not _has_triton():
        return "triton is not installed"
    if game.query.is_cuda:
        capability = torch.cuda.get_device_capability(game.query.device)
        if capability < (7, 0):
            return "this GPU is older than Triton's kernels"
        if game.bf16 and capability < (8, 0):
            return "this GPU has no bfloat16 products"
    return _not_tiled(game)


def _not_tiled(game: Game) -> str | None:
    if traced():
        return "torch.compile or a torch.func transform is looking on"
    if game.crowd.bias is not None and game.crowd.bias.requires_grad:
        return "the bias wants a gradient"
    return None


def _fine(game: Game) -> None:
    return None


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


_REFUSALS: dict[Backend, Callable[[Game], str | None]] = {
    "triton": _not_triton,
    "tiled": _not_tiled,
    "dense": _fine,
}
