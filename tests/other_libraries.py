"""Other libraries, where they are installed."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import ModuleType

import pytest
import torch


def peer(name: str) -> ModuleType:
    """The module, or the test is skipped; what it warns of while it is imported is not ours."""
    torchvision()
    return pytest.importorskip(name)


@cache
def torchvision() -> None:
    """Make it importable: several peers import it, and none of their losses calls it.

    The operators of its GPU build do not load beside a CPU build of torch, and importing it then
    fails unless somebody has declared them.
    """
    try:
        import_module("torchvision")
    except ModuleNotFoundError:
        return
    except RuntimeError:
        for half_imported in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[half_imported]
        for operator in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", signature)
        import_module("torchvision")
