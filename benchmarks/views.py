"""What the random views cost, and which part of them: python benchmarks/views.py"""

from __future__ import annotations

import statistics
import time

import torch

from nearfar.encoders import ProjectionHead, ResNet
from nearfar.experiment import Train
from nearfar.loss import NTXentLoss
from nearfar.pairs import simclr_views
from nearfar.train import precision

ITEMS, SIZE, ROUNDS = 128, 32, 20


def milliseconds(work: object) -> float:
    """Median over rounds, after a warm-up."""
    assert callable(work)
    times = []
    for _ in range(ROUNDS + 2):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return 1000 * statistics.median(times[2:])


def main() -> None:
    """One training step's parts, side by side."""
    pictures = torch.rand(2 * ITEMS, 3, SIZE, SIZE)
    network = torch.nn.Sequential(ResNet(), ProjectionHead(256))
    network.to(memory_format=torch.channels_last)
    objective = NTXentLoss(0.2)
    bf16 = precision(Train()) == "bf16-mixed"

    def learn() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = network(pictures.contiguous(memory_format=torch.channels_last))
        objective(z[:ITEMS].float(), z[ITEMS:].float()).backward()

    from kornia import augmentation as k

    def hue() -> None:
        k.ColorJiggle(0.0, 0.0, 0.0, 0.1, p=0.8)(pictures)

    whole, plain = simclr_views(SIZE), simclr_views(SIZE, colour=0.0)
    print(f"{2 * ITEMS} views of {SIZE} x {SIZE}, {torch.get_num_threads()} threads, ms")
    print(f"all views                 {milliseconds(lambda: whole(pictures)):7.1f}")
    print(f"  with colour strength 0  {milliseconds(lambda: plain(pictures)):7.1f}")
    print(f"  hue alone               {milliseconds(hue):7.1f}")
    print(f"encoder, loss, backward   {milliseconds(learn):7.1f}")


if __name__ == "__main__":
    main()
