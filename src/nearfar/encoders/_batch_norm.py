"""Batch norm over all ranks: the statistics of the global batch, on any device.

With statistics of its own on every device, a network can recognise the device that an embedding
came from, and with it the partner: the loss falls and nothing is learned (He et al. 2020, MoCo,
section 3.3). torch's SyncBatchNorm mends that on GPUs and refuses CPU tensors; this one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nearfar.errors import NearfarError
from nearfar.loss._numbers import working
from nearfar.loss._ranks import Ranks

_ORDINARY = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class BatchNormOverRanks(_BatchNorm):
    """Batch norm whose batch is that of all ranks of torch.distributed.

    Source: Ioffe & Szegedy 2015 (arXiv 1502.03167), algorithm 1, with the sums over all ranks. The
    variance is taken about the mean, in a second pass: E[x^2] - E[x]^2 cancels where the mean is
    large. Ranks may hold different numbers of rows, or none at all.

    In evaluation mode, and where torch.distributed is not initialised, it is torch's own. The
    arguments, parameters and buffers are those of `torch.nn.BatchNorm1d`. The input's gradient is
    that of the global batch; those of weight and bias are this rank's part of it, and
    DistributedDataParallel adds them up as it does all others.

    Shapes:
        (N, C, ...) -> (N, C, ...)

    Raises:
        NearfarError: An input without channels, or one value a channel on all ranks together.

    Example:
        >>> layer = BatchNormOverRanks(2)
        >>> layer(torch.tensor([[0.0, 1.0], [2.0, 5.0]])).round().tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
    """

    # nearfar.anatomy.leakage, a floor below, asks for this.
    over_ranks = True

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2 or input.shape[1] != self.num_features:
            raise NearfarError(
                f"input has shape {tuple(input.shape)}; wanted (N, {self.num_features}, ...): the "
                "channels second."
            )

    def forward(self, input: Tensor) -> Tensor:
        ranks = Ranks()
        if not self.training or ranks.alone:
            out: Tensor = super().forward(input)
            return out
        self._check_input_dim(input)
        x = working(input)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        channels = [1, -1] + [1] * (x.ndim - 2)
        rows = torch.full((1,), x.numel() // self.num_features, device=x.device)
        # C numbers: float64 costs nothing, and sums of millions of float32 stay exact.
        sums = _sum_over(torch.cat([x.sum(axes, dtype=torch.float64), rows.double()]), ranks)
        count = sums[-1].detach()
        if count < 2:
            raise NearfarError(
                f"input holds {int(count)} value(s) a channel on all {ranks.size} ranks together; "
                "wanted 2 or more in training mode, to have a variance."
            )
        mean = sums[:-1] / count
        centred = x - mean.to(x.dtype).view(channels)
        squares = centred.square().sum(axes, dtype=torch.float64)
        variance = _sum_over(squares, ranks) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1))
        x = centred * (variance + self.eps).rsqrt().to(x.dtype).view(channels)
        if self.weight is not None:
            x = x * self.weight.view(channels)
        if self.bias is not None:
            x = x + self.bias.view(channels)
        return x.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased: Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None:
            return
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


def synchronised(model: nn.Module) -> nn.Module:
    """Give every batch norm of a model the statistics of all ranks.

    Call it before DistributedDataParallel or Fabric wraps the model. On CUDA with more than one
    rank, torch's SyncBatchNorm takes over; on CUDA with one rank there is nothing to do; elsewhere
    every layer becomes a `BatchNormOverRanks`, which alone is an ordinary batch norm. Parameters,
    buffers and the keys of the state dict stay.

    Args:
        model: Changed in place.

    Returns:
        The model; another object only where the model itself is one batch norm on CUDA.

    Raises:
        NearfarError: A batch norm with a forward of its own, which would be lost.

    Example:
        >>> model = synchronised(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
        >>> type(model[1]).__name__, list(model.state_dict())[2]
        ('BatchNormOverRanks', '1.weight')
    """
    for name, layer in model.named_modules():
        if isinstance(layer, _ORDINARY) and type(layer).forward is not _BatchNorm.forward:
            raise NearfarError(
                f"model.{name} is a {type(layer).__name__}, a batch norm with a forward of its "
                "own, which a synchronised one would not have. Wanted torch's BatchNorm1d, 2d or "
                "3d there, or the converter of the library that the layer comes from."
            )
    first = next(chain(model.parameters(), model.buffers()), None)
    if first is not None and first.device.type == "cuda":
        if Ranks().alone:
            return model
        convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(model)
    for layer in model.modules():
        if isinstance(layer, (*_ORDINARY, nn.SyncBatchNorm)):
            # As torch's lazy layers do: parameters, buffers and hooks are those that were there.
            layer.__class__ = BatchNormOverRanks  # type: ignore[assignment]
    return model


def _sum_over(x: Tensor, ranks: Ranks) -> Tensor:
    out: Tensor = _Sum.apply(x, ranks)  # type: ignore[no-untyped-call]
    return out


class _Sum(torch.autograd.Function):
    """The sum over all ranks, on every rank: each rank's loss sends a gradient to each term."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        out = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(out, group=ranks.group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _sum_over(grad, ctx.ranks), None
