"""DNA reads: two noisy views of one read, or two fragments of one contig, belong together.

A read and its reverse complement are one locus seen from two sides. So views of a read are a random
strand, a window of it, sequencing errors and lost bases; a positive pair is two such views of one
read, which teaches what locus it is from, or of two fragments of one contig or genome, which
teaches whose it is (Zhou et al. 2024, DNABERT-S, arXiv 2402.08777). Reads that are equal up to
reverse complement are never negatives of each other. No label is needed; sub-folder names serve for
evaluation only.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from nearfar.encoders import Encoder, KmerBag, ReadConv
from nearfar.encoders._dna_conv import Strand
from nearfar.errors import check_range
from nearfar.experiment import Experiment
from nearfar.loss import SupConLoss, Temperature
from nearfar.model import Model
from nearfar.pairs.dna import Errors, Positives, ReadPairs, ReadReader, Reads, ReadViews
from nearfar.recipes._dna_exhibits import error_exhibit


def dna(
    path: str,
    positives: Positives = "read",
    encoder: Literal["kmers", "conv"] = "kmers",
    strand: Strand = "average",
    dim: int = 64,
    k: int = 7,
    hidden: int = 128,
    temperature: float = 0.1,
    errors: Errors = "illumina",
    error_rate: float = 0.02,
    unknown: float = 0.005,
    shortest: int = 100,
    longest: int = 500,
    overlap: float = 0.3,
) -> Experiment:
    """Learn from reads, contigs or genomes.

    Args:
        path: FASTA or FASTQ, plain or .gz: a file, a folder, or a quoted pattern; FASTQ files R1
            and R2 of one pair are mates.
        positives: read (two views of one read), contig or genome (two fragments of one record, or
            of one file: what species signal is learned from).
        encoder: kmers (a learned vector for each k-mer, both strands as one: fast), or conv.
        strand: How conv copes with strands: learned, average of both, or exact by construction.
        dim: Numbers of an embedding.
        k: Letters of a k-mer.
        hidden: Width of the network behind the k-mers' sum; 0 for the sum alone, which keeps more
            of the locus.
        temperature: How sharply hard negatives are weighted; low is sharp.
        errors: illumina (substitutions, more at the end), ont (indels too), or none.
        error_rate: Mean errors a base; each view draws its own, from none to twice this.
        unknown: Share of bases that views show as N.
        shortest: Bases of the shortest window that a view shows.
        longest: Bases of the longest.
        overlap: Smallest share that two windows of one read have in common; 0 for windows anywhere
            in the same read, or in the same 4 x longest bases of a longer record.
    """
    check_range(1, dim=dim)
    check_range(0, hidden=hidden)
    tau = Temperature(temperature)
    reader, views = ReadReader(), ReadViews(errors, error_rate, unknown)
    reads = Reads(path)
    network: Encoder = KmerBag(k, hidden, dim) if encoder == "kmers" else ReadConv(strand, dim=dim)
    pairs = ReadPairs(reads, views, positives, shortest=shortest, longest=longest, overlap=overlap)
    return Experiment(
        model=Model(reader, network),
        pairs=pairs,
        objective=partial(together, SupConLoss(tau)),
        temperature=tau,
        inputs=pairs.pieces,
        labels=None if reads.labels is None else [reads.labels[row] for row in pairs.records],
        # Fragments of a genome are not asked where in it they lie.
        probe=reader.probe(reads.inputs) if positives == "read" or reads.labels else None,
        skipped=reads.skipped,
        remarks=[reads.summary, *reads.remarks],
        exhibits=lambda model: [error_exhibit(pairs.pieces, model)],
        steps=2000,
        batch_size=min(512, len(pairs)),
    )


def together(loss: SupConLoss, query: Tensor, key: Tensor, *, ids: Tensor) -> Tensor:
    """All views with one id are each other's positives, every other view is a negative."""
    out: Tensor = loss(torch.cat([query, key]), ids.repeat(2))
    return out
