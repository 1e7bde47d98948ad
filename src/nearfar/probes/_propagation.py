"""Carry the mask of the first frame through a clip by nearest features: region J, contour F."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nearfar.probes._pixel_clips import Clip, Flow, embedded
from nearfar.probes._scores import Embed
from nearfar.progress import tracked

Mask = NDArray[np.int64]
_TILE = (4, 8)
Agree = Callable[[NDArray[np.bool_], NDArray[np.bool_]], float]


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """The protocol of Jabri et al. 2020 (arXiv 2006.14613, appendix) and Caron et al. 2021.

    Each place takes the labels of its ``top`` most similar places in the first frame and the last
    ``context`` ones, as far as they lie within ``radius``, weighted by softmax at ``temperature``.
    A place's features are the mean over 3 x 3 places half a step apart.

    Attributes:
        step: Pixels between places.
        radius: In places, up, down and to both sides.
        context: Frames before, beside the first.
        top: Places that vote.
        temperature: Of their weights.
    """

    step: float = 4
    radius: int = 12
    context: int = 20
    top: int = 7
    temperature: float = 0.07

    def masks(self, embed: Embed, clip: Clip, first: Mask) -> list[Mask]:
        """The mask of every frame, from that of the first alone; no frame sees a later one.

        Args:
            embed: Features.
            clip: T frames.
            first: (H, W) integers, 0 the ground, 1..K the objects.

        Returns:
            T masks.
        """
        seen: deque[tuple[Tensor, Tensor]] = deque(maxlen=self.context)
        begin: tuple[Tensor, Tensor] | None = None
        out = [first]
        kinds = int(first.max()) + 1
        for number in tracked(range(len(clip)), f"Masks of {clip.name}"):
            features = self._features(embed, clip, number)
            if begin is None:
                whole = functional.one_hot(torch.from_numpy(first), kinds).permute(2, 0, 1).float()
                small = at_places(whole, features.shape[:2], self.step)
                begin = (features, small.permute(1, 2, 0))
                continue
            labels = self._vote(features, [begin, *seen])
            seen.append((features, labels))
            large = from_places(labels.permute(2, 0, 1), clip.shape, self.step)
            out.append(large.argmax(0).numpy())
        return out

    def _features(self, embed: Embed, clip: Clip, number: int) -> Tensor:
        """(rows, columns, D) unit vectors of a frame."""
        fine = torch.from_numpy(embedded(embed, clip.grid(number, self.step / 2)))
        mean = functional.avg_pool2d(
            fine.permute(2, 0, 1)[None], 3, 2, padding=1, count_include_pad=False
        )
        return functional.normalize(mean[0].permute(1, 2, 0), dim=2)

    def _vote(self, target: Tensor, context: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(rows, columns, K) labels of one frame, a tile at a time."""
        rows, columns, _ = target.shape
        keys, labels = (torch.stack(parts) for parts in zip(*context, strict=True))
        out = torch.empty(rows, columns, labels.shape[-1])
        for top in range(0, rows, _TILE[0]):
            tall, high = _reach(top, _TILE[0], rows, self.radius)
            for left in range(0, columns, _TILE[1]):
                wide, broad = _reach(left, _TILE[1], columns, self.radius)
                mine = target[top : top + _TILE[0], left : left + _TILE[1]]
                near = keys[:, high, broad]
                similar = mine.flatten(0, 1) @ near.flatten(0, 2).T
                allowed = tall[:, None, None, :, None] & wide[:, None, None, :]
                allowed = allowed.expand(*mine.shape[:2], *near.shape[:3]).reshape(similar.shape)
                similar.masked_fill_(~allowed, -2.0)
                best, place = similar.topk(min(self.top, similar.shape[1]), sorted=False)
                weight = functional.softmax(best / self.temperature, 1)
                voted = labels[:, high, broad].flatten(0, 2)[place]
                found = (weight[..., None] * voted).sum(1)
                out[top : top + _TILE[0], left : left + _TILE[1]] = found.view(*mine.shape[:2], -1)
        return out


def _reach(first: int, length: int, end: int, radius: int) -> tuple[Tensor, slice]:
    """Which places a tile may ask along one axis: (tile, asked) bool, and those asked at all."""
    own = torch.arange(first, min(first + length, end))
    near = slice(max(first - radius, 0), min(first + length + radius, end))
    return (own[:, None] - torch.arange(near.start, near.stop)).abs() <= radius, near


def flow_masks(flow: Flow, clip: Clip, first: Mask) -> list[Mask]:
    """The mask of every frame by chaining backward optical flow, nearest pixel."""
    out, before = [first], clip.picture(0)
    height, width = clip.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for number in range(1, len(clip)):
        now = clip.picture(number)
        back = flow(now, before)
        rows = (y + back[..., 1]).round().clip(0, height - 1).astype(int)
        columns = (x + back[..., 0]).round().clip(0, width - 1).astype(int)
        out.append(out[-1][rows, columns])
        before = now
    return out


def region(found: Mask, truth: Mask) -> float:
    """J: intersection over union, the mean over objects (Perazzi et al. 2016)."""
    return _each_object(found, truth, _overlap)


def contour(found: Mask, truth: Mask, tolerance: float = 0.008) -> float:
    """F: harmonic mean of the contour's precision and recall (Perazzi et al. 2016).

    Args:
        found: (H, W) integers.
        truth: The same.
        tolerance: Distance at which contours still agree, as a share of the picture's diagonal.
    """
    import cv2

    reach = int(np.ceil(tolerance * np.hypot(*truth.shape)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))

    def agree(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
        edges = [_edge(mask) for mask in (a, b)]
        if not edges[0].any() or not edges[1].any():
            return float(edges[0].any() == edges[1].any())
        thick = [cv2.dilate(edge.astype(np.uint8), disk) > 0 for edge in edges]
        precision = (edges[0] & thick[1]).sum() / edges[0].sum()
        recall = (edges[1] & thick[0]).sum() / edges[1].sum()
        return float(2 * precision * recall / max(precision + recall, 1e-12))

    return _each_object(found, truth, agree)


def at_places(whole: Tensor, shape: tuple[int, ...], step: float) -> Tensor:
    """(K, H, W) as seen from places: the mean over the ``step`` pixels around each, (K, h, w)."""
    wide = functional.avg_pool2d(
        functional.pad(whole[None], (int(step) // 2,) * 4, mode="replicate"), int(step) + 1, 1
    )[0]
    rows, columns = (
        (torch.arange(count) * step).round().long().clamp(max=wide.shape[axis + 1] - 1)
        for axis, count in enumerate(shape)
    )
    return wide[:, rows[:, None], columns]


def from_places(labels: Tensor, shape: tuple[int, int], step: float) -> Tensor:
    """(K, h, w) of places to (K, H, W) of pixels, bilinear."""
    y, x = (
        (torch.arange(length) / step) * 2 / max(count - 1, 1) - 1
        for length, count in zip(shape, labels.shape[1:], strict=True)
    )
    where = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    sampled = functional.grid_sample(
        labels[None], where[None], padding_mode="border", align_corners=True
    )
    return sampled[0]


def _each_object(found: Mask, truth: Mask, measure: Agree) -> float:
    kinds = range(1, max(int(truth.max()), int(found.max()), 1) + 1)
    values = [measure(found == kind, truth == kind) for kind in kinds]
    return float(np.mean(values))


def _overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import cv2

    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    return np.asarray(mask & (inner == 0))
