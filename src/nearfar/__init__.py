"""nearfar: embeddings in which what belongs together lies near and everything else lies far.

Example:
    >>> import torch, nearfar
    >>> query, key = torch.eye(4), torch.eye(4)
    >>> round(nearfar.info_nce(query, key, temperature=0.5).item(), 4)
    0.3408
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nearfar.anatomy import contrastive_stats as contrastive_stats
    from nearfar.errors import NearfarError as NearfarError
    from nearfar.loss import ClipLoss as ClipLoss
    from nearfar.loss import GradCache as GradCache
    from nearfar.loss import InfoNCE as InfoNCE
    from nearfar.loss import MemoryBank as MemoryBank
    from nearfar.loss import MomentumEncoder as MomentumEncoder
    from nearfar.loss import NTXentLoss as NTXentLoss
    from nearfar.loss import SigLipLoss as SigLipLoss
    from nearfar.loss import SupConLoss as SupConLoss
    from nearfar.loss import Temperature as Temperature
    from nearfar.loss import checks as checks
    from nearfar.loss import gather as gather
    from nearfar.loss import info_nce as info_nce
    from nearfar.model import load as load

# Entered on first use, so that the command line answers at once and the loss needs torch alone.
_ROOMS = {
    "NearfarError": "errors",
    "ClipLoss": "loss",
    "GradCache": "loss",
    "InfoNCE": "loss",
    "MemoryBank": "loss",
    "MomentumEncoder": "loss",
    "NTXentLoss": "loss",
    "SigLipLoss": "loss",
    "SupConLoss": "loss",
    "Temperature": "loss",
    "checks": "loss",
    "contrastive_stats": "anatomy",
    "gather": "loss",
    "info_nce": "loss",
    "load": "model",
}

__all__ = [*_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        globals()[name] = getattr(import_module(f"nearfar.{_ROOMS[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module 'nearfar' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
