"""DNA reads: files of every kind, strands, errors, what may be a negative, and a training."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.encoders import KmerBag, ReadConv
from nearfar.model import Model, describe, rebuild
from nearfar.pairs import Reader, seeded
from nearfar.pairs.dna import (
    ReadPairs,
    ReadReader,
    Reads,
    ReadViews,
    Sequences,
    canonical_ids,
    decode,
    encode,
    flip_strands,
    insert_and_delete,
    kmer_profile,
    reverse_complement,
    substitute,
)
from nearfar.probes import Embed, ReadProbe

CPU = torch.device("cpu")


def random_codes(length: int, seed: int = 0, letters: str = "ACGT") -> np.ndarray:
    draw = np.random.default_rng(seed)
    return encode("".join(draw.choice(list(letters), length)))


def fastq(*reads: tuple[str, str]) -> str:
    return "".join(f"@{name}\n{letters}\n+\n{'I' * len(letters)}\n" for name, letters in reads)


@pytest.mark.parametrize(
    ("letters", "other"),
    [("ACGT", "ACGT"), ("RKBD", "HVMY"), ("SWN", "NWS"), ("aacu", "AGTT"), ("GATTACA", "TGTAATC")],
)
def test_complements(letters: str, other: str) -> None:
    assert decode(reverse_complement(encode(letters))) == other
    assert decode(reverse_complement(encode(other))) == letters.upper().replace("U", "T")


def test_flipping_a_padded_batch_keeps_the_padding_behind() -> None:
    reads = [random_codes(n, n, "ACGTNRY") for n in (1, 6, 9)]
    batch = Sequences.of([*reads, encode("")]).padded()
    which = torch.tensor([True, True, False, True])
    flipped = flip_strands(batch, which)
    for row, codes in enumerate([*map(reverse_complement, reads[:2]), reads[2], encode("")]):
        assert flipped[row, : len(codes)].tolist() == codes.tolist()
        assert not flipped[row, len(codes) :].any()


def test_the_middle_of_a_long_read_is_the_same_on_both_strands() -> None:
    for length in (20, 21):
        codes = random_codes(length)
        middle, other = Sequences.of([codes, reverse_complement(codes)]).padded(longest=7)
        kept = middle[middle != 0].numpy()
        assert len(kept) in (7, 8)
        assert reverse_complement(kept).tolist() == other[other != 0].tolist()


def test_slices_are_sequences() -> None:
    reads = [random_codes(n, n) for n in (3, 5, 2, 4)]
    packed = Sequences.of(reads)
    assert [codes.tolist() for codes in packed[1:3]] == [codes.tolist() for codes in reads[1:3]]
    assert packed[-1].tolist() == reads[-1].tolist()
    assert packed[1:3].padded().shape == (2, 5)
    with pytest.raises(IndexError):
        packed[4]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_files_as_they_come(tmp_path: Path, end: str, packed: bool) -> None:
    texts = {
        "a.fasta": ">one first\nACGT\nacgu\n\n>two\nRYKMBVDHSWN\n",
        "b.fq": fastq(("r1 x", "ACGT"), ("empty", ""), ("r2", "TTT")),
        # Several lines a sequence, and a quality line that begins as a header does.
        "c.fastq": "@m1\nACGT\nAC\n+m1\nIIII\n@I\n@m2\nGG\n+\n@@\n",
    }
    for name, text in texts.items():
        raw = text.replace("\n", end).encode()
        file = tmp_path / (f"{name}.gz" if packed else name)
        file.write_bytes(gzip.compress(raw) if packed else raw)
    reads = Reads(tmp_path)
    assert reads.names == ["one", "two", "r1", "r2", "m1", "m2"]
    assert [decode(codes) for codes in reads.sequences] == [
        "ACGTACGT", "RYKMBVDHSWN", "ACGT", "TTT", "ACGTAC", "GG",
    ]  # fmt: skip
    (why,) = reads.skipped.values()
    assert why.endswith(", record 2: empty: no bases")
    assert "6 records in 3 file(s), 34 bases" in reads.summary


def test_damaged_records_are_skipped_and_named(tmp_path: Path) -> None:
    good = fastq(("a", "ACGT"), ("b", "GGGG"))
    broken = good + "@short\nACGT\n+\nII\n" + fastq(("c", "CC")) + "@cut\nACG\n" + fastq(("d", "T"))
    (tmp_path / "a.fastq").write_text(broken + "noise\n" + fastq(("e", "A"), ("odd", "AC!T")))
    (tmp_path / "b.fa").write_text(">f\nACGT\n>g\nAC-GT\n>\xe9\nT\n", encoding="latin-1")
    whole = gzip.compress(fastq(*((f"z{n}", "ACGTAC") for n in range(5000))).encode(), 0)
    (tmp_path / "c.fq.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.fa").touch()
    (tmp_path / "e.fa").write_text("no sequences\n")
    (tmp_path / "f.fa").write_text(">same\n!\n>same\n!\n")
    reads = Reads(tmp_path)
    assert [name for name in reads.names if name[0] != "z"] == [*"abcdef", "\xe9"]
    assert len([name for name in reads.names if name[0] == "z"]) > 2000
    why = {name: said.removeprefix(f"{name}: ") for name, said in reads.skipped.items()}
    assert len([name for name in why if name.endswith(": same")]) == 2
    assert why["a.fastq, record 3: short"] == "4 bases and 2 qualities"
    assert why["a.fastq, record 5: cut"] == "3 bases and 0 qualities"
    assert why["a.fastq, record 6: noise"] == "a line between records"
    assert why["a.fastq, record 9: odd"] == "'!' at base 3 is no IUPAC letter"
    assert why["b.fa, record 2: g"] == "'-' at base 3 is no IUPAC letter"
    (end,) = (reason for name, reason in why.items() if name.endswith(": c.fq.gz"))
    assert "cannot be read to its end" in end
    assert why["d.fa, record 1: d.fa"] == "the file is empty"
    assert "wanted '>' or '@'" in why["e.fa, record 1: e.fa"]


def test_paths_without_reads(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.fa", f"{tmp_path}/*.fq"):
        with pytest.raises(NearfarError, match="no reads there"):
            Reads(path)
    (tmp_path / "a.fa").write_text(">x\nA!\n")
    with pytest.raises(NearfarError, match=r"none of its 1 records can be read.*'!' at base 2"):
        Reads(tmp_path)
    (tmp_path / "a.fa").write_text(">x\nACGT\n>y\nACGT\n")
    with pytest.raises(NearfarError, match=r"hold 2 record.*1 of them different"):
        ReadPairs(Reads(f"{tmp_path}/*.fa"), ReadViews())


def test_equal_reads_and_mates_are_no_negatives(tmp_path: Path) -> None:
    read, other = decode(random_codes(80)), decode(random_codes(80, 1))
    copy = decode(reverse_complement(encode(read)))
    (tmp_path / "x_R1.fastq").write_text(fastq(("p 1:N", read), ("q", other)))
    (tmp_path / "x_R2.fastq").write_text(fastq(("p 2:N", other[::-1]), ("q", other[:40])))
    (tmp_path / "y.fastq").write_text(fastq(("p", copy), ("palindrome", "ACGT" * 9)))
    reads = Reads(tmp_path)
    assert reads.names == ["p/1", "q/1", "p/2", "q/2", "p", "palindrome"]
    group = reads.groups("read").tolist()
    assert group[0] == group[2] == group[4]  # mates, and the other strand
    assert group[1] == group[3]
    assert len(set(group)) == 3
    assert reads.groups("genome").tolist() == [0, 0, 0, 0, 2, 2]
    assert reads.summary.endswith("; 1 pair(s) of files hold mates, such as x_R1.fastq")


@pytest.mark.parametrize(
    ("files", "headers", "mates"),
    [
        ("x.1.fq x.2.fq", "p p", True),
        ("x_1.fastq x_2.fastq", "p/1 p/2", True),
        ("x_R1_001.fastq x_R2_001.fastq", "SRR1.1.1 SRR1.1.2", True),
        # Genomes whose contigs are called alike, samples, and three of a kind.
        ("isolate_1.fasta isolate_2.fasta", "p p", False),
        ("bin.1.fa bin.2.fa", "p p", False),
        ("sample_1.fastq sample_2.fastq", "p q", False),
        ("x_1.fastq x_2.fastq x_3.fastq", "p p p", False),
    ],
)
def test_mates_are_two_files_of_one_run(
    tmp_path: Path, files: str, headers: str, mates: bool
) -> None:
    for seed, (name, header) in enumerate(zip(files.split(), headers.split(), strict=True)):
        letters = decode(random_codes(60, seed))
        text = fastq((header, letters)) if "q" in name else f">{header}\n{letters}\n"
        (tmp_path / name).write_text(text)
    reads = Reads(tmp_path)
    assert len(reads.groups("genome").unique()) == (1 if mates else len(files.split()))
    assert ("hold mates" in reads.summary) == mates


def test_pieces_of_a_contig_that_repeat_are_no_negatives(tmp_path: Path) -> None:
    unit = decode(random_codes(400))
    (tmp_path / "a.fa").write_text(f">c\n{unit}{unit}{decode(random_codes(400, 1))}\n")
    pairs = ReadPairs(Reads(tmp_path), ReadViews(), longest=100)
    assert len(pairs) == 3
    assert pairs.ids[0] == pairs.ids[1] != pairs.ids[2]
    assert pairs.names(torch.tensor([2, 0])) == ["c:800", "c:0"]


def blocks(folder: Path) -> Reads:
    """Contigs of one letter each, so that a window tells where it is from."""
    for name, letters in (("a", "AC"), ("b", "GT")):
        text = "".join(
            f">{letter}\n{letter * (900 if letter in 'AG' else 90)}\n" for letter in letters
        )
        (folder / f"{name}.fa").write_text(text)
    return Reads(folder)


@pytest.mark.parametrize("positives", ["read", "contig", "genome"])
def test_a_pair_is_from_one_place(tmp_path: Path, positives: str) -> None:
    reads = blocks(tmp_path)
    # One letter reads the same backwards but for its complement: no strand, no errors.
    quiet = ReadViews("none", unknown=0.0)
    pairs = ReadPairs(reads, quiet, positives, shortest=30, longest=100)  # type: ignore[arg-type]
    rows = torch.arange(len(pairs)).repeat(50)
    with seeded(0):
        batch = pairs.draw(rows, CPU)
    # A and T are one strand's and the other's.
    strip = np.array([0, 1, 2, 0, 2, 0, 0, 0, 1])
    query, key = (strip[x.numpy().max(1)] for x in (batch.query, batch.key))
    lengths = (batch.query != 0).sum(1)
    assert lengths.min() >= 30
    assert lengths.max() == 100
    assert 40 < lengths.float().mean() < 75
    contig = pairs.records[rows]
    if positives == "genome":
        both = {(a, b) for a, b in zip(query[contig < 2], key[contig < 2], strict=True)}
        assert (1, 2) in both  # A of a pair with C, in one file
    else:
        np.testing.assert_array_equal(query, key)


@pytest.mark.parametrize("overlap", [0.4, 0.0])
def test_two_windows_of_a_read_overlap(tmp_path: Path, overlap: float) -> None:
    letters = decode(random_codes(1000))
    (tmp_path / "a.fa").write_text(f">a\n{letters}\n>b\n{decode(random_codes(150, 1))}\n")
    pairs = ReadPairs(
        Reads(tmp_path), ReadViews("none", unknown=0.0), shortest=60, longest=250, overlap=overlap
    )
    found = []
    with seeded(0):
        batch = pairs.draw(torch.zeros(60, dtype=torch.int64), CPU)
    for query, key in zip(batch.query.numpy(), batch.key.numpy(), strict=True):
        spans = []
        for codes in (query[query != 0], key[key != 0]):
            place = max(letters.find(decode(c)) for c in (codes, reverse_complement(codes)))
            assert place >= 0
            spans.append((place, place + len(codes)))
        shared = min(spans[0][1], spans[1][1]) - max(spans[0][0], spans[1][0])
        found.append(shared / min(b - a for a, b in spans))
    assert min(found) >= 0.39 if overlap else min(found) < -0.5
    assert np.mean(found) < 0.95


def test_draws_follow_from_the_seed(tmp_path: Path) -> None:
    pairs = ReadPairs(blocks(tmp_path), ReadViews("ont"), "contig")
    rows, drawn = torch.arange(4), []
    for step in (3, 3, 4):
        with seeded(0, step):
            drawn.append(pairs.draw(rows, CPU))
    assert torch.equal(drawn[0].key, drawn[1].key)
    assert drawn[0].key.shape != drawn[2].key.shape or not torch.equal(drawn[0].key, drawn[2].key)


def test_substitutions_rise_along_the_read_and_leave_sets_alone() -> None:
    codes = torch.from_numpy(random_codes(200)).repeat(4000, 1)
    with seeded(0):
        seen = ReadViews("illumina", error_rate=0.05, unknown=0.0)(codes)
    turned = flip_strands(codes[:1], torch.tensor([True]))
    wrong = torch.minimum((seen != codes).sum(1), (seen != turned).sum(1))
    assert wrong.float().mean() / 200 == pytest.approx(0.05, rel=0.1)
    strand = ((seen != codes).sum(1) < (seen != turned).sum(1))[:, None]
    at = (seen != torch.where(strand, codes, turned)).float().mean(0)
    assert at[-40:].mean() > 2.5 * at[:40].mean()
    assert 0.45 < strand.float().mean() < 0.55
    sets = torch.from_numpy(encode("NRYACGT-")).repeat(2000, 1)
    sets[:, -1] = 0
    with seeded(1):
        seen = substitute(sets, torch.tensor(1.0))
    assert torch.equal(seen[:, :3], sets[:, :3])
    assert not (seen[:, 3:7] == sets[:, 3:7]).any()
    for column in range(3, 7):  # each of the three others, evenly
        counts = seen[:, column].int().bincount(minlength=9)
        assert counts[counts > 0].min() > 550
    assert not seen[:, 7].any()


def test_indels_and_homopolymers() -> None:
    run, alternating = encode("A" * 100), encode("AC" * 50)
    codes = Sequences.of([run, alternating] * 1500).padded()
    with seeded(0):
        lost = insert_and_delete(codes, torch.zeros(1, 1), torch.full((1, 1), 0.1))
        more = insert_and_delete(codes, torch.full((1, 1), 0.1), torch.zeros(1, 1))
    gone = 100 - (lost != 0).sum(1).view(-1, 2).float().mean(0)
    assert gone.tolist() == pytest.approx([19.9, 10.0], rel=0.06)
    extra = (more != 0).sum(1).view(-1, 2).float().mean(0) - 100
    assert extra.tolist() == pytest.approx([19.9, 10.0], rel=0.06)
    assert set(more[0].unique().tolist()) <= {0, 1, 2, 4, 8}
    assert (more[::2] == 1).sum() > 0.99 * (more[::2] != 0).sum()  # a run grows by its own letter
    assert {4, 8} <= set(more[1::2].unique().tolist())
    for batch in (lost, more):  # nothing behind the end
        ends = (batch != 0).sum(1)
        assert all((row[:end] != 0).all() for row, end in zip(batch[:50], ends[:50], strict=True))


def test_unknown_bases() -> None:
    codes = torch.full((100, 200), 1, dtype=torch.uint8)
    codes[:, 150:] = 0
    with seeded(0):
        seen = ReadViews("none", unknown=0.1)(codes)
    assert (seen[:, :150] == 15).float().mean() == pytest.approx(0.1, rel=0.1)
    assert not seen[:, 150:].any()


ENCODERS = [KmerBag(k=5, width=16, dim=8), KmerBag(k=4, width=0, dim=8)] + [
    ReadConv(strand, width=8, kernel=7, dim=8)  # type: ignore[arg-type]
    for strand in ("exact", "average", "learned")
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=["kmers", "sum", "exact", "average", "learned"])
def test_strands(encoder: nearfar.encoders.Encoder) -> None:
    reads = [random_codes(n, n, "ACGTACGTACGTNRY") for n in (0, 1, 2, 5, 6, 40, 41, 99, 100, 151)]
    reader = ReadReader()
    batch, other = reader.read(reads), reader.read([reverse_complement(r) for r in reads])
    with torch.no_grad():
        encoder.train()
        for number in range(8):  # batch norms that have seen data are not the identity
            encoder(reader.read([random_codes(90, number * 10 + n) for n in range(8)]))
        encoder.eval()
        forth, back = encoder(batch), encoder(other)
    error = ((forth - back).norm(dim=1) / forth.norm(dim=1).clamp_min(1e-12)).max()
    learned = isinstance(encoder, ReadConv) and encoder.strand == "learned"
    assert (error > 1e-3) if learned else (error < 1e-5)
    with torch.no_grad():  # whatever else is in the batch
        alone = torch.cat([encoder(batch[row : row + 1, : len(r)]) for row, r in enumerate(reads)])
    torch.testing.assert_close(alone, forth, atol=1e-5, rtol=1e-4)
    assert rebuild(describe(encoder), nearfar.encoders.Encoder).settings == encoder.settings


def test_large_batches_are_encoded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ENCODERS[2].eval()
    batch = ReadReader().read([random_codes(50 + n, n) for n in range(9)])
    with torch.no_grad():
        whole = encoder(batch)
        monkeypatch.setattr("nearfar.encoders._dna_conv._MOST", 128)
        torch.testing.assert_close(encoder(batch), whole, atol=1e-6, rtol=1e-5)


def test_kmers_count_both_strands_as_one() -> None:
    codes = random_codes(150)
    both = Sequences.of([codes, reverse_complement(codes), encode("ACGNACG"), encode("AC")])
    profile = kmer_profile(both, 4)
    assert profile.shape == (4, 136)
    np.testing.assert_allclose(profile[0], profile[1])
    np.testing.assert_allclose(np.linalg.norm(profile[:2], axis=1), 1, rtol=1e-6)
    assert not profile[2:].any()
    assert kmer_profile(both, 5).shape == (4, 512)


def test_ids_are_equal_up_to_reverse_complement_only() -> None:
    codes = random_codes(60)
    changed = codes.copy()
    changed[30] = 15 - changed[30]
    a, b, c = canonical_ids([codes, reverse_complement(codes), changed])
    assert a == b != c


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReadViews("pacbio"), "errors='pacbio'"),  # type: ignore[arg-type]
        (lambda: ReadViews(error_rate=0.7), "error_rate=0.7"),
        (lambda: ReadReader(0), "longest=0"),
        (lambda: ReadReader().read(["AC", "AC?"]), "'AC\\?'.*no base"),
        (lambda: ReadConv("both"), "strand='both'"),  # type: ignore[arg-type]
        (lambda: ReadConv(width=7), "width=7"),
        (lambda: KmerBag(k=0), "k=0"),
    ],
)
def test_bad_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(NearfarError, match=message):
        make()  # type: ignore[operator]


def genomes(folder: Path) -> Path:
    """Three species, each a Markov chain of its own: contigs to learn from, reads to judge by."""
    draw = np.random.default_rng(0)
    for species in ("alba", "nigra", "rubra"):
        chance = draw.dirichlet(np.full(4, 1.5), 64)
        code, letters = 0, []
        for dice in draw.random(30_000):
            letter = min(3, int((chance[code].cumsum() < dice).sum()))
            letters.append("ACGT"[letter])
            code = (code * 4 + letter) % 64
        text = "".join(letters)
        (folder / "contigs").mkdir(exist_ok=True)
        (folder / "contigs" / f"{species}.fa").write_text(f">{species}\n{text[:15_000]}\n")
        for kind, begin in (("gallery", 0), ("test", 16_000)):
            (folder / kind / species).mkdir(parents=True)
            starts = draw.integers(begin, begin + 13_000, 40)
            reads = [(f"{species}{n}", text[s : s + 100]) for n, s in enumerate(starts)]
            raw = fastq(*reads).encode()
            (folder / kind / species / "reads.fastq.gz").write_bytes(gzip.compress(raw))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = genomes(tmp_path_factory.mktemp("dna"))
    words = ["train", "dna", str(folder / "contigs"), "--positives", "contig", "--longest", "150"]
    words += ["--k", "4", "--dim", "16", "--steps", "60", "--batch_size", "64", "--seed", "0"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder


def test_training_beats_the_untrained_encoder(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained / "run"), str(trained / "gallery")]
    assert main([*words, "--test", str(trained / "test"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert set(rows) == {"learned", "untrained", "canonical 4-mers", "canonical 5-mers", "one-hot"}
    assert rows["learned"]["five_labels"] > rows["untrained"]["five_labels"] + 0.1
    assert rows["learned"]["ari"] > rows["untrained"]["ari"] + 0.1
    assert {"knn", "linear", "overlap_50", "overlap_30"} < set(rows["learned"])


def two_species(folder: Path, contigs: int) -> list[str]:
    """Random contigs, as many of each species; returns their letters."""
    letters = [decode(random_codes(2000, seed)) for seed in range(2 * contigs)]
    for first, species in enumerate("ab"):
        (folder / species).mkdir()
        text = "".join(f">{n}\n{contig}\n" for n, contig in enumerate(letters[first::2]))
        (folder / species / "genome.fa").write_text(text)
    return letters


def test_windows_of_a_contig_are_held_out_together(tmp_path: Path) -> None:
    letters, reader = two_species(tmp_path, 5), ReadReader()
    probe = reader.probe(reader.find(str(tmp_path)))
    assert isinstance(probe, ReadProbe)
    assert probe.labelled is not None
    learned, asked = (
        {next(n for n, contig in enumerate(letters) if decode(codes) in contig) for codes in part}
        for part in (probe.labelled.gallery, probe.labelled.queries)
    )
    assert (len(learned), len(asked)) == (8, 2)
    assert not learned & asked


def test_one_contig_a_species_cannot_be_held_out(tmp_path: Path) -> None:
    two_species(tmp_path, 1)
    reader = ReadReader()
    probe = reader.probe(reader.find(str(tmp_path)))
    assert isinstance(probe, ReadProbe)
    assert probe.labelled is None
    assert "a label has one contig alone" in probe.score(reader.baselines()).note


def test_windows_are_as_many_as_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nearfar.pairs.dna._reader._JUDGED", 12)
    two_species(tmp_path, 10)
    probe = ReadReader().probe(ReadReader().find(str(tmp_path)))
    assert isinstance(probe, ReadProbe)
    assert probe.labelled is not None
    assert len(probe.labelled.gallery) + len(probe.labelled.queries) == 12


def test_embedding_streams_names_and_vectors(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = trained / "test" / "alba" / "reads.fastq.gz"
    monkeypatch.setattr("nearfar.pairs.dna._stream._READS", 7)  # several parts
    out = trained / "vectors.parquet"
    assert main(["embed", str(trained / "run"), str(file), "--out", str(out)]) == 0
    table = pq.read_table(out)
    model = nearfar.load(trained / "run")
    reads = Reads(file)
    assert table["name"].to_pylist() == reads.names
    vectors = np.stack(table["vector"].to_numpy())
    np.testing.assert_allclose(vectors, model.embed(reads.sequences), atol=1e-5)
    letters = [decode(reverse_complement(codes)) for codes in reads.sequences]
    np.testing.assert_allclose(vectors, model.embed(letters), atol=1e-5)


def test_a_query_is_letters_or_a_name(trained: Path) -> None:
    model = nearfar.load(trained / "run")
    gallery = model.reader.find(str(trained / "test"))
    assert gallery.labels is not None
    assert model.reader.one("alba3", gallery).tolist() == gallery.items[3].tolist()
    assert model.reader.one("ACGT", gallery) == "ACGT"


def test_a_stray_file_that_drops_all_labels_is_named(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "test", tmp_path / "test")
    (tmp_path / "test" / "top.fa").write_text(">top\nACGT\n")
    found = ReadReader().find(str(tmp_path / "test"))
    assert found.labels is None
    assert "sub-folders, but 1 file(s) beside them (top.fa)" in found.remarks[0]


def test_a_run_about_genomes_is_not_asked_for_loci(trained: Path) -> None:
    assert not (trained / "run" / "scores.json").is_file()  # contigs without labels


@pytest.mark.parametrize("strand", ["learned", "average", "exact"])
def test_convolutions_train(trained: Path, strand: str) -> None:
    words = ["train", "dna", str(trained / "contigs"), "--positives", "genome", "--steps", "2"]
    words += ["--encoder", "conv", "--strand", strand, "--errors", "ont", "--batch_size", "8"]
    assert main([*words, "--longest", "120", "--out", str(trained / strand)]) == 0
    model: Model = nearfar.load(trained / strand)
    assert isinstance(model.encoder, ReadConv)
    assert model.encoder.strand == strand


def test_baselines_are_there_for_every_reader() -> None:
    reader: Reader = ReadReader()
    features: dict[str, Embed] = reader.baselines()
    shapes = {name: embed(["ACGTA", "ACGTN"]).shape for name, embed in features.items()}
    assert shapes == {
        "canonical 4-mers": (2, 136), "canonical 5-mers": (2, 512), "one-hot": (2, 400),
    }  # fmt: skip
