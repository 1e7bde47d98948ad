"""The DNA tables of docs/dna.md: python benchmarks/dna.py PART GENOMES [--reads READS]

GENOMES is a folder of FASTA files named SPECIES__STRAIN.fa.gz; READS a folder of real reads with
their mapped places (only for the part real). Figures go to benchmarks/results/dna.json.

Of a species with several strains the last is for testing and the others are for training; of one
with a single strain the first 45 % are for training and the last 48 % for testing. Settings were
chosen on validation reads: from the last 9 % of one training strain, or from 46 to 50 %, none of
them trained on. Nothing was chosen on the test reads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dna_figures import loci_figures, more_kmers, species_figures, strand_error, summary
from dna_split import SPECIES_HELD_OUT, Split, split, write_fastq

import nearfar
from nearfar.cli import main as nearfar_command
from nearfar.model import Model
from nearfar.probes import few_label_probe
from nearfar.probes._reads import first_hits

RESULTS = Path(__file__).parent / "results" / "dna.json"
SPECIES = ["--positives", "genome"]
LOCI = ["--positives", "read", "--shortest", "60", "--longest", "150"]
LOCI += ["--hidden", "0", "--temperature", "0.05"]
PLACES = ["--positives", "read", "--overlap", "0", "--hidden", "0", "--k", "4"]
SHORT = ["--longest", "250", "--batch_size", "256"]
WORDS = {
    "species": SPECIES,
    "unseen": PLACES,
    "unseen128": [*PLACES, "--dim", "128"],
    "unseen_genomes": SPECIES,
    "unseen_conv": ["--positives", "read", "--overlap", "0", "--encoder", "conv", *SHORT],
    "loci": LOCI,
    "loci128": [*LOCI, "--dim", "128"],
    "loci512": [*LOCI, "--dim", "512"],
}


def trained(words: list[str], folder: Path, out: Path, seed: int) -> tuple[Model, Model, float]:
    """Train by the command line, unless the run is there: learned, untrained, minutes."""
    if not (out / "model").is_dir():
        command = ["train", "dna", str(folder), *words, "--seed", str(seed), "--out", str(out)]
        assert nearfar_command(command) == 0
    model = nearfar.load(out)
    untrained = nearfar.load(out, weights=out / "checkpoints" / "untrained.safetensors")
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return model, untrained, json.loads(lines[-1])["seconds"] / 60


def table(
    kind: str, split: Split, work: Path, seeds: Sequence[int], steps: int
) -> dict[str, list[dict[str, float]]]:
    """Every figure of every kind of features.

    Args:
        kind: ``species`` learns from two fragments of a genome, ``loci...`` from two views of a
            stretch of 600 bases, ``unseen...`` from two fragments of 2,000 bases
            (``unseen_conv``: 1,000, and convolutions). ``unseen...`` never meet the species that
            they are judged by.
    """
    words = [*WORDS[kind], "--steps", str(steps)]
    new = kind.startswith("unseen")
    folder = split.known if new else split.folder
    judged = split.only(SPECIES_HELD_OUT) if new else split
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in seeds:
        model, untrained, minutes = trained(words, folder, work / f"{kind}{seed}", seed)
        own = {"learned": model.embed, "untrained": untrained.embed}
        free = model.reader.baselines() if seed == seeds[0] else {}
        if free and kind != "species":
            free |= more_kmers(split.reads("gallery", 150).items)
        for name, embed in {**own, **free}.items():
            figures = species_figures(embed, judged) | loci_figures(embed, judged)
            rows[name].append(figures | ({"minutes": minutes} if name == "learned" else {}))
    return rows


def strands(
    split: Split, work: Path, seeds: Sequence[int], steps: int, real: Path | None
) -> dict[str, Any]:
    """The three ways with strands of one convolutional encoder, same steps, beside k-mers."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in seeds:
        for strand in ("learned", "average", "exact", "kmers"):
            words = [*SPECIES, "--steps", str(steps), *SHORT]
            if strand != "kmers":
                words += ["--encoder", "conv", "--strand", strand]
            out = work / f"strand_{strand}{seed}"
            model, _, minutes = trained(words, split.folder, out, seed)
            rows[strand].append(
                species_figures(model.embed, split)
                | {"minutes": minutes}
                | (strand_error(model, real) if real else {})
            )
    return rows


def real(split: Split, work: Path, seeds: Sequence[int], steps: int, reads: Path) -> dict[str, Any]:
    """Chunks of 500 bases of mapped nanopore reads: their species, and their place.

    Species: five labels a species (error-free reads of training genomes) teach a classifier; the
    figure is the share of chunks that it calls Escherichia coli. Place: the chunk must find the
    window of the reference that it was mapped to, among 4,000 windows of 500 bases.
    """
    chunks, windows = split.nanopore(reads, 500, 1000, 4000)
    gallery = split.reads("gallery", 500)
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for seed in seeds:
        for kind in ("species", "loci"):
            words = [*WORDS[kind], "--steps", str(steps)]
            model, untrained, _ = trained(words, split.folder, work / f"{kind}{seed}", seed)
            own = {f"learned ({kind})": model.embed, f"untrained ({kind})": untrained.embed}
            free = model.reader.baselines() if (seed, kind) == (seeds[0], "species") else {}
            for name, embed in {**own, **free}.items():
                a, queries = embed(gallery.items), embed(chunks)
                called = few_label_probe(
                    a, gallery.labels or [], queries, ["Escherichia_coli"] * len(chunks), draws=20
                )
                place = first_hits(queries, embed(windows))
                rows[name].append({"five": called or 0.0, "place": place})
    return rows


def speed(split: Split, work: Path) -> dict[str, float]:
    """Reads a second from FASTQ.gz to Parquet, the command's own clock, start-up not counted."""
    file = work / "speed.fastq.gz"
    first, _ = split.overlapping(150, 1.0, 100_000)
    write_fastq(file, first, "read")
    run = work / "species0"
    nearfar_command(["embed", str(run), str(file), "--out", str(work / "warm.parquet")])
    began = time.perf_counter()
    nearfar_command(["embed", str(run), str(file), "--out", str(work / "speed.parquet")])
    return {"reads": len(first), "reads a second": len(first) / (time.perf_counter() - began)}


def main() -> None:
    """Make one table, print it and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=[*WORDS, "strands", "real", "speed"])
    parser.add_argument("genomes", type=Path)
    parser.add_argument("--reads", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/dna"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000)
    words = parser.parse_args()
    cut = split(words.genomes, words.work)
    common = (cut, words.work, words.seeds)
    if words.part == "speed":
        made: dict[str, Any] = speed(cut, words.work)
    elif words.part == "real":
        made = summary(real(*common, words.steps, words.reads))
    elif words.part == "strands":
        made = summary(strands(*common, words.steps, words.reads))
    else:
        made = summary(table(words.part, *common, words.steps))
    every = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    every[words.part] = {"steps": words.steps, "seeds": words.seeds, "table": made}
    RESULTS.write_text(json.dumps(every, indent=1) + "\n")
    print(json.dumps(made, indent=1))


if __name__ == "__main__":
    main()
