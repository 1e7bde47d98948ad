"""What the report of a DNA run shows: strands, and how much of a read errors leave."""

from __future__ import annotations

import numpy as np
import torch

from nearfar.experiment import Exhibit
from nearfar.model import Model
from nearfar.pairs import seeded
from nearfar.pairs.dna import Sequences, flip_strands, substitute

RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
READS, BASES = 1000, 150


def error_exhibit(reads: Sequences, model: Model) -> Exhibit:
    """Cosine of a read with its other strand, the more errors in it the lower.

    Args:
        reads: What was trained on; the first bases of at most a thousand are looked at.
        model: The trained one.
    """
    rows = range(0, len(reads), -(-len(reads) // READS))
    codes = Sequences.of(reads[row][:BASES] for row in rows).padded()
    other = flip_strands(codes, torch.ones(len(codes), dtype=torch.bool))
    here = model.embed(_sequences(codes))
    same, worst = [], []
    for rate in RATES:
        with seeded(0):
            seen = substitute(other, torch.tensor(rate))
        cosine = (here * model.embed(_sequences(seen))).sum(1)
        same.append(float(cosine.mean()))
        worst.append(float(np.percentile(cosine, 5)))
    apart = np.linalg.norm(here - model.embed(_sequences(other)), axis=1).max()
    different = float((here * np.roll(here, 1, 0)).sum(1).mean())
    rates = [100 * rate for rate in RATES]
    return Exhibit(
        title="Strands and errors",
        text=(
            f"Cosine of {len(codes):,} reads of up to {BASES} bases with their reverse complements "
            "after substitutions. Beside it the cosine of different reads: invariance is worth "
            "something only as far as the curves stay apart. Without errors, the largest distance "
            f"between a read's unit vector and its reverse complement's is {apart:.1e}."
        ),
        curves={
            "the same read, mean": (rates, same),
            "the same read, 5th percentile": (rates, worst),
            "different reads, mean": (rates, [different] * len(rates)),
        },
        x="substitutions, %",
        y="cosine",
    )


def _sequences(codes: torch.Tensor) -> Sequences:
    return Sequences.of(row[row != 0].numpy() for row in codes)
