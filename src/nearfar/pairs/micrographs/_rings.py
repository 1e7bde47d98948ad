"""Rings about the middle of a window: what turning does to them is known exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def polar(windows: Tensor, rings: int, angles: int = 64) -> Tensor:
    """Resample windows along circles about their middle.

    Args:
        windows: (N, C, S, S).
        rings: Circles, evenly spaced between the middle and the inscribed one.
        angles: Points on each.

    Returns:
        (N, C, rings, angles). A turned window gives the same, shifted along the last axis.
    """
    radius = (torch.arange(rings, device=windows.device) + 0.5) / rings
    turn = torch.arange(angles, device=windows.device) * (2 * math.pi / angles)
    grid = torch.stack(
        [radius[:, None] * turn.cos(), radius[:, None] * turn.sin()],
        dim=-1,
    )
    grid = grid.expand(len(windows), -1, -1, -1).to(windows.dtype)
    return functional.grid_sample(windows, grid, align_corners=True)


def ring_spectra(windows: Tensor, rings: int = 12, orders: int = 13) -> Tensor:
    """Magnitudes of the Fourier series along each ring: the same however a window is turned.

    A shift along a ring changes phases only, so the magnitudes are invariant up to resampling.
    What they lose is how rings are turned against each other. The analytic opponent of every
    learned rotation invariance; 12 rings of 13 orders are 156 numbers a channel.

    Args:
        windows: (N, C, S, S).
        rings: Circles.
        orders: Orders of the series, the mean (order 0) first.

    Returns:
        (N, C * rings * orders) float32.
    """
    spectra: Tensor = torch.fft.rfft(polar(windows.float(), rings), dim=-1).abs()
    return spectra[..., :orders].flatten(1)


def ring_invariants(windows: Tensor, rings: int = 16, orders: int = 24) -> Tensor:
    """`ring_spectra`, and how each ring is turned against the next one.

    When a window turns by an angle, order m of every ring's series turns by m times the angle, so
    the product of one ring's with the conjugate of the next one's stays. Its imaginary part
    changes sign in a mirror: unlike the magnitudes alone, these numbers see handedness. (The same
    products, of histograms of patterns: Ahonen et al. 2009, LBP histogram Fourier features.)

    Args:
        windows: (N, C, S, S).
        rings: Circles.
        orders: Orders of the series.

    Returns:
        (N, C * orders * (3 * rings - 2)) float32, all in the unit of the pixels.
    """
    series = torch.fft.rfft(polar(windows.float(), rings), dim=-1)[..., :orders]
    product = series[:, :, :-1] * series[:, :, 1:].conj()
    # The root of its length: the products would be dominated by the strongest orders.
    product = product / (product.abs().sqrt() + 1e-6)
    parts = (series.abs(), product.real, product.imag)
    return torch.cat([part.flatten(1) for part in parts], 1)


def ring_means(windows: Tensor, rings: int = 16) -> Tensor:
    """(N, C * rings), the mean of each ring: the pixels averaged over all rotations."""
    return polar(windows.float(), rings).mean(-1).flatten(1)
