"""What benchmarks/dna.py measures of an embedding of reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dna_split import Split, mutated

from nearfar.model import Model
from nearfar.pairs.dna import Reads, Sequences, kmer_profile, reverse_complement
from nearfar.probes import Vectors, few_label_probe, knn, linear_probe
from nearfar.probes._reads import cluster_agreement, first_hits


def species_figures(embed: Callable[[Sequences], Vectors], split: Split) -> dict[str, float]:
    """Every figure about species: 5 labels, all labels, neighbours, clusters, errors."""
    out: dict[str, float] = {}
    for length in (150, 250):
        gallery, test = split.reads("gallery", length), split.reads("test", length)
        a, b = embed(gallery.items), embed(test.items)
        names, targets = gallery.labels or [], test.labels or []
        more = five_more(a, names, b, targets, split.strains)
        out |= {f"five {length}, {key}": value for key, value in more.items()}
        out[f"five {length}"] = few_label_probe(a, names, b, targets, draws=20) or 0.0
        out[f"knn {length}"] = knn(a, names, b, targets, 20)
        out[f"linear {length}"] = linear_probe(a, names, b, targets)
        out[f"ari {length}"] = cluster_agreement(b, targets)
        for percent in (5, 10):
            wrong = embed(mutated(test.items, percent / 100))
            five = few_label_probe(a, names, wrong, targets, draws=20)
            out[f"five {length} at {percent} % errors"] = five or 0.0
    return out


def five_more(
    a: Vectors, names: Sequence[str], b: Vectors, targets: Sequence[str], strains: frozenset[str]
) -> dict[str, float]:
    """`few_label_probe` with the strength that is best on these very reads, which flatters each
    row, and by what is new about the test genomes: the strain, or the half of the genome.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, wanted = np.asarray(names), np.asarray(targets)
    groups = {"new strain": np.isin(wanted, list(strains))}
    groups |= {"new half": ~groups["new strain"]}
    right: dict[float, list[Any]] = defaultdict(list)
    for draw in range(20):
        rng = np.random.default_rng(draw)
        rows = [rng.choice(np.flatnonzero(labels == name), 5, False) for name in np.unique(labels)]
        some = np.concatenate(rows)
        for c in (0.001, 0.01, 0.1, 1.0):
            probe = make_pipeline(
                StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)
            )
            right[c].append(probe.fit(a[some], labels[some]).predict(b) == wanted)
    return {"best strength": max(float(np.mean(each)) for each in right.values())} | {
        group: float(np.stack(right[0.1])[:, rows].mean()) for group, rows in groups.items()
    }


def more_kmers(reads: Sequences) -> dict[str, Callable[[Sequences], Vectors]]:
    """6-mers, and 4- and 5-mers squeezed into as many numbers as an embedding has.

    Args:
        reads: What the principal components are fitted to.
    """
    from sklearn.decomposition import PCA

    out = {"canonical 6-mers": partial(kmer_profile, k=6)}
    for k in (4, 5):
        fitted = PCA(64, random_state=0).fit(kmer_profile(reads, k))

        def squeezed(reads: Sequences, k: int = k, fitted: PCA = fitted) -> Vectors:
            vectors: Vectors = fitted.transform(kmer_profile(reads, k)).astype(np.float32)
            return vectors

        out[f"canonical {k}-mers, PCA to 64"] = squeezed
    return out


def loci_figures(embed: Callable[[Sequences], Vectors], split: Split) -> dict[str, float]:
    """R@1 among 4,000 reads of 150 bases of the test genomes, the query from the other strand."""
    out = {}
    for share in (1.0, 0.5, 0.3):
        first, second = split.overlapping(150, share, 4000)
        for percent in (0, 5, 10):
            queries = embed(mutated(second, percent / 100))
            out[f"overlap {share:.0%} at {percent} % errors"] = first_hits(queries, embed(first))
    return out


def strand_error(model: Model, real: Path) -> dict[str, float]:
    """Relative distance of a read's vector from its reverse complement's, over real reads.

    Illumina reads of 72 bases with N's, cut to 66 to 72 so that batches are padded and lengths odd
    and even, and MiSeq reads of 39 to 251. The encoder's vectors, not scaled to length one.
    """
    files = ("illumina72_SRR059298_20k.fastq.gz", "miseq251_ecoli_1k.fastq.gz")
    short, long = (Reads(real / name).sequences for name in files)
    reads = [codes[: len(codes) - row % 7] for row, codes in enumerate(short[:9500])]
    reads += [long[row] for row in range(len(long))]
    order = np.random.default_rng(0).permutation(len(reads))
    errors = []
    model.eval()
    with torch.no_grad():
        for rows in np.array_split(order, len(order) // 250):
            both = [
                model.encoder(model.reader.prepare(model.reader.read(some)))
                for some in (
                    [reads[row] for row in rows],
                    [reverse_complement(reads[row]) for row in rows],
                )
            ]
            errors.append((both[0] - both[1]).norm(dim=1) / both[0].norm(dim=1))
    every = torch.cat(errors)
    return {
        "reads": len(every),
        "strand error, largest": every.max().item(),
        "strand error, mean": every.mean().item(),
    }


def summary(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (of n - 1) and number of seeds of each figure."""
    out: dict[str, dict[str, Any]] = {}
    for name, each in rows.items():
        values = {key: [figures[key] for figures in each] for key in each[0]}
        out[name] = {
            key: {
                "mean": round(float(np.mean(v)), 8),
                "sd": round(float(np.std(v, ddof=1)), 8) if len(v) > 1 else None,
                "seeds": len(v),
            }
            for key, v in values.items()
        }
    return out
