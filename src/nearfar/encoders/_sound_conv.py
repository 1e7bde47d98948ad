"""A small network for clips of sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._log_mel import LogMel
from nearfar.encoders._resnet import ResNet

_COLUMNS = 32


class SoundConv(Encoder):
    """Log-mel bands, then a small residual network over bands and time.

    While training, a stripe of bands and one of time are blanked (Park et al. 2019, SpecAugment,
    arXiv 1904.08779, section 2): a call is known by more than one note. Over time both the mean
    and the maximum are kept: a call is short, a clip is not.

    Args:
        rate: Samples a second of the waveforms.
        widths: Channels of each stage.
        bands: Mel bands.
        patch: Side of the stem's patch; it moves by half of that.
        masks: Largest share of the bands, and of the time, that a stripe blanks.

    Shapes:
        (N, S) -> (N, 2 * widths[-1])
    """

    def __init__(
        self,
        rate: int,
        widths: Sequence[int] = (32, 64, 128),
        bands: int = 40,
        patch: int = 8,
        masks: float = 0.1,
    ) -> None:
        super().__init__()
        self.settings = {
            "rate": rate,
            "widths": list(widths),
            "bands": bands,
            "patch": patch,
            "masks": masks,
        }
        self.dim, self.masks = 2 * widths[-1], masks
        self.mel = LogMel(rate, bands)
        # Without its mean over positions.
        self.body = ResNet(widths, patch=patch, channels=1).body[:-2]

    def forward(self, waves: Tensor) -> Tensor:
        x: Tensor = self.mel(waves)
        # Room for the stages' strides; 0 is the mean.
        x = functional.pad(x, (0, max(0, _COLUMNS - x.shape[3])))
        if self.training and self.masks:
            x = x * self._stripe(x, 2) * self._stripe(x, 3)
        over_time: Tensor = self.body(x).mean(2)
        return torch.cat([over_time.mean(2), over_time.amax(2)], 1)

    def _stripe(self, x: Tensor, axis: int) -> Tensor:
        """1, and 0 in one stripe of each row; drawn on the CPU, the same on every device."""
        size = x.shape[axis]
        width, start = torch.rand(2, len(x), 1)
        width = width * self.masks * size
        start = start * (size - width)
        place = torch.arange(size)
        shape = [len(x), 1, 1, 1]
        shape[axis] = size
        seen: Tensor = (place < start) | (place >= start + width)
        return seen.view(shape).to(x)
