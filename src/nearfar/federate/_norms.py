"""Group norms in place of batch norms, in whatever encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from nearfar.encoders import Encoder
from nearfar.model import Model, describe, rebuild

_GROUPS = 8


class GroupNormed(Encoder):
    """An encoder whose batch norms have become group norms (Wu & He 2018, arXiv 1803.08494).

    A batch norm compares an item with the rest of its batch. Where clients hold different labels,
    that takes out what sets a client's items apart, and embeddings of different clients are no
    longer comparable (Hsieh et al. 2020, arXiv 1910.00189, section 5). A group norm sees one item.

    Args:
        of: What `nearfar.model.describe` says of the encoder.

    Example:
        >>> from nearfar.encoders import ProjectionHead
        >>> head = GroupNormed(describe(ProjectionHead(8, 16, 4)))
        >>> any(isinstance(part, nn.BatchNorm1d) for part in head.modules())
        False
    """

    def __init__(self, of: dict[str, Any]) -> None:
        super().__init__()
        self.settings = {"of": of}
        self.body = rebuild(of, Encoder)
        self.dim = self.body.dim
        _replace(self.body)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = self.body(*args, **kwargs)
        return out


def group_normed(model: Model) -> Model:
    """The same model with new weights and group norms."""
    head = None if model.head is None else GroupNormed(describe(model.head))
    return Model(model.reader, GroupNormed(describe(model.encoder)), head, model.embedding)


def _replace(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, nn.BatchNorm1d):
            setattr(module, name, nn.LayerNorm(part.num_features))
        elif isinstance(part, nn.BatchNorm2d):
            width = part.num_features
            groups = next(g for g in range(_GROUPS, 0, -1) if width % g == 0)
            setattr(module, name, nn.GroupNorm(groups, width))
        else:
            _replace(part)
