"""Waveforms to pictures of sound: mel bands in decibel-like units, over time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LogMel(nn.Module):
    """The logarithm of the energy in mel bands, standardised for each clip.

    A clip loses its mean and its deviation, so that loudness tells nothing. The bands are librosa's
    (Slaney's scale and norm). Computed in float32 whatever the precision around it.

    Args:
        rate: Samples a second.
        bands: Mel bands from 50 Hz up to half the rate.
        hop: Seconds from one column to the next; a window is twice as long.

    Shapes:
        (N, S) waveforms -> (N, 1, bands, 1 + S // (hop * rate))
    """

    mel: Tensor
    window: Tensor

    def __init__(self, rate: int, bands: int = 40, hop: float = 0.032) -> None:
        super().__init__()
        from librosa.filters import mel

        self.step = max(1, round(hop * rate))
        self.length = 2 * self.step
        self.fft = 2 ** math.ceil(math.log2(self.length))
        filters = mel(sr=rate, n_fft=self.fft, n_mels=bands, fmin=50.0)
        self.register_buffer("mel", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(self.length), persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        with torch.autocast(waves.device.type, enabled=False):
            spectrum = torch.stft(
                waves.float(),
                self.fft,
                self.step,
                self.length,
                self.window,
                return_complex=True,
                pad_mode="constant",
            )
            power = self.mel @ torch.view_as_real(spectrum).square().sum(-1)
            top = power.amax((1, 2), keepdim=True).clamp_min(1e-12)
            # 80 dB below a clip's loudest spot there is only its noise.
            x = (power / top).clamp_min(1e-8).log()
            x = x - x.mean((1, 2), keepdim=True)
            return (x / x.std((1, 2), keepdim=True).clamp_min(1e-3))[:, None]
