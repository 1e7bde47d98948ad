"""Two networks, one for sounds and one for pictures, that end in one space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._huggingface import HuggingFace
from nearfar.encoders._huggingface_sound import HuggingFaceSound
from nearfar.encoders._resnet import ResNet
from nearfar.encoders._sound_conv import SoundConv
from nearfar.errors import NearfarError

_KINDS: dict[str, type[Encoder]] = {
    kind.__name__: kind for kind in (SoundConv, HuggingFaceSound, ResNet, HuggingFace)
}


class TwoTowers(Encoder):
    """A waveform goes up one tower, a picture the other; a linear layer ends each in one space.

    Args:
        sound: Settings of the sounds' encoder, and its class as ``kind``.
        picture: The same of the pictures'.
        dim: Width of the space.

    Shapes:
        (N, S) waveforms or (N, 3, H, W) pictures -> (N, dim); or an object whose ``parts`` are
        both, and whose ``order`` says which row of the parts each row of the output is.

    Raises:
        NearfarError: A ``kind`` that is none of nearfar's.
    """

    def __init__(self, sound: dict[str, Any], picture: dict[str, Any], dim: int = 128) -> None:
        super().__init__()
        self.settings = {"sound": sound, "picture": picture, "dim": dim}
        self.dim = dim
        self.sound, self.picture = _built(sound), _built(picture)
        self.sound_end = nn.Linear(self.sound.dim, dim)
        self.picture_end = nn.Linear(self.picture.dim, dim)

    @classmethod
    def of(cls, sound: Encoder, picture: Encoder, dim: int = 128) -> TwoTowers:
        """From two encoders, with the weights that they have."""
        towers = cls(_said(sound), _said(picture), dim)
        towers.sound.load_state_dict(sound.state_dict())
        towers.picture.load_state_dict(picture.state_dict())
        return towers

    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            every = torch.cat([self(part) for part in x.parts])
            return every[x.order]
        if x.ndim == 2:
            return self.sound_end(self.sound(x))  # type: ignore[no-any-return]
        return self.picture_end(self.picture(x))  # type: ignore[no-any-return]


def _said(encoder: Encoder) -> dict[str, Any]:
    return {"kind": type(encoder).__name__, **encoder.settings}


def _built(said: dict[str, Any]) -> Encoder:
    settings = dict(said)
    kind = settings.pop("kind", None)
    if kind not in _KINDS:
        raise NearfarError(f"kind={kind!r}: wanted one of {', '.join(_KINDS)}.")
    return _KINDS[kind](**settings)
