"""Genomes to training contigs, and to validation and test reads that training never sees."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nearfar.pairs import Inputs
from nearfar.pairs.dna import Reads, Sequences, decode, reverse_complement

# Low to high GC: training of the part `unseen` never meets these species.
SPECIES_HELD_OUT = (
    "Clostridium_perfringens",
    "Escherichia_coli",
    "Frateuria_aurantia",
    "Meiothermus_silvanus",
    "Ruminiclostridium_thermocellum",
    "Staphylococcus_aureus",
)
# Its nanopore reads are the real ones, so this strain is for testing.
LAST = ("K12_MG1655",)
Codes = np.ndarray


@dataclass(frozen=True)
class Split:
    """Where reads may be cut from.

    Attributes:
        folder: Training genomes, one FASTA file each.
        known: The same without the species held out.
        cuts: Part (gallery, validation, test) to species to stretches of genome.
        strains: The species whose test strain is not a training strain; of the others another half
            of the same genome is for testing.
    """

    folder: Path
    known: Path
    cuts: dict[str, dict[str, list[Codes]]]
    strains: frozenset[str]

    def only(self, species: Sequence[str]) -> Split:
        """The same for some species."""
        cuts = {part: {s: c for s, c in each.items() if s in species}
                for part, each in self.cuts.items()}  # fmt: skip
        return replace(self, cuts=cuts)

    def reads(self, part: str, length: int) -> Inputs:
        """Error-free reads of both strands: 200 a species for the gallery, else 100."""
        draw = np.random.default_rng([length, *part.encode()])
        each = 200 if part == "gallery" else 100
        found, labels = [], []
        for species, stretches in self.cuts[part].items():
            found += [_read(stretches, length, draw) for _ in range(each)]
            labels += [species] * each
        names = [f"{label}_{row}" for row, label in enumerate(labels)]
        return Inputs(names, Sequences.of(found), labels)

    def overlapping(self, length: int, share: float, number: int) -> tuple[Sequences, Sequences]:
        """Pairs of test reads with this share in common; the second from the other strand."""
        draw = np.random.default_rng(number)
        every = [stretch for each in self.cuts["test"].values() for stretch in each]
        span = length + round(length * (1 - share))
        found = [_read(every, span, draw) for _ in range(number)]
        return (
            Sequences.of(codes[:length] for codes in found),
            Sequences.of(reverse_complement(codes[span - length :]) for codes in found),
        )

    def nanopore(
        self, folder: Path, length: int, chunks: int, windows: int
    ) -> tuple[Sequences, Sequences]:
        """Chunks of mapped nanopore reads, and windows of the reference, row i the chunk's own."""
        draw = np.random.default_rng(0)
        reads = Reads(folder / "ont_ecoli_k12.fastq.gz")
        row_of = {name: row for row, name in enumerate(reads.names)}
        genome = max(self.cuts["test"]["Escherichia_coli"], key=len)
        with (folder / "ont_ecoli_k12.truth.tsv").open() as file:
            truth = list(csv.DictReader(file, delimiter="\t"))
        mapped = [r for r in truth if r["ref_start"].isdigit() and int(r["mapq"]) >= 50]
        found, places = [], []
        while len(found) < chunks:
            row = mapped[draw.integers(len(mapped))]
            begin, end = int(row["read_start"]), int(row["read_end"])
            low, high = int(row["ref_start"]), int(row["ref_end"])
            if end - begin < 2 * length or high - low < 2 * length:
                continue
            start = int(draw.integers(begin, end - length))
            along = (start + length / 2 - begin) / (end - begin)
            along = along if row["strand"] == "1" else 1 - along
            place = int(low + along * (high - low) - length / 2)
            if 0 <= place < len(genome) - length:
                found.append(reads.sequences[row_of[row["read"]]][start : start + length])
                places.append(genome[place : place + length])
        places += [_read([genome], length, draw) for _ in range(windows - chunks)]
        return Sequences.of(found), Sequences.of(places)


def mutated(sequences: Sequences, rate: float) -> Sequences:
    """Substitutions at this rate, everywhere alike."""
    draw = np.random.default_rng(0)
    codes = sequences.codes[sequences.bounds[0] : sequences.bounds[-1]].copy()
    hit = np.flatnonzero((draw.random(len(codes)) < rate) & np.isin(codes, (1, 2, 4, 8)))
    wide = codes[hit].astype(int) << draw.integers(1, 4, len(hit))
    codes[hit] = (wide | (wide >> 4)) & 15
    return Sequences(codes, sequences.bounds - sequences.bounds[0])


def write_fastq(path: Path, sequences: Sequences, name: str) -> None:
    """As a sequencer would."""
    with gzip.open(path, "wt", compresslevel=6) as file:
        for row, codes in enumerate(sequences):
            file.write(f"@{name}{row}\n{decode(codes)}\n+\n{'I' * len(codes)}\n")


def split(genomes: Path, work: Path) -> Split:
    """Cut genomes and write those to train on; see benchmarks/dna.py."""
    strains: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(genomes.glob("*__*.fa.gz"), key=lambda f: (_strain(f) in LAST, f.name)):
        strains[file.name.split("__")[0]].append(file)
    cuts: dict[str, dict[str, list[Codes]]] = {"gallery": {}, "validation": {}, "test": {}}
    folders = work / "train", work / "known"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for species, files in sorted(strains.items()):
        parts: dict[str, list[Codes]] = defaultdict(list)
        for number, file in enumerate(files):
            contigs = list(Reads(file).sequences)
            if len(files) > 1 and number == len(files) - 1:
                parts["test"] += contigs
                continue
            last = number == max(0, len(files) - 2)
            shares = (0.45, 0.46, 0.5) if len(files) == 1 else (0.9, 0.91, 1.0)
            mine = []
            for codes in contigs:
                end, low, high = (int(len(codes) * share) for share in shares)
                mine.append(codes[:end] if last else codes)
                if last:
                    parts["validation"].append(codes[low:high])
                if len(files) == 1:
                    parts["test"].append(codes[int(0.52 * len(codes)) :])
            parts["gallery"] += mine
            for folder in folders[: 1 if species in SPECIES_HELD_OUT else 2]:
                _write(folder / file.name, mine)
        for part, stretches in parts.items():
            cuts[part][species] = stretches
    several = frozenset(species for species, files in strains.items() if len(files) > 1)
    return Split(*folders, cuts, several)


def _strain(file: Path) -> str:
    return file.name.removesuffix(".fa.gz").split("__")[1]


def _write(path: Path, contigs: Sequence[Codes]) -> None:
    if not path.is_file():
        with gzip.open(path, "wt", compresslevel=1) as file:
            for number, codes in enumerate(contigs):
                file.write(f">{path.name.removesuffix('.fa.gz')}_{number}\n{decode(codes)}\n")


def _read(stretches: Sequence[Codes], length: int, draw: np.random.Generator) -> Codes:
    sizes = np.array([max(0, len(codes) - length) for codes in stretches], dtype=float)
    codes = stretches[draw.choice(len(stretches), p=sizes / sizes.sum())]
    start = draw.integers(len(codes) - length)
    read = codes[start : start + length]
    return reverse_complement(read) if draw.random() < 0.5 else read
