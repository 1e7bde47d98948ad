"""Translations: files of every kind, who is no negative, subwords, fakes, mining, a training."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.cli._export import to_sentence_transformers
from nearfar.encoders import SubwordBag, TextTransformer, small_config
from nearfar.model import Model, describe, rebuild
from nearfar.pairs import seeded
from nearfar.pairs.translation import (
    Bitext,
    SentenceReader,
    Tokens,
    TranslationPairs,
    different,
    has_letters,
    normalised,
    read_corpora,
    shuffled,
    shuffled_words,
    swapped_words,
    train_tokenizer,
    two_or_more,
    word_starts,
)
from nearfar.probes import Margin, best_threshold, mining
from nearfar.recipes._translation_start import kept_apart, split
from nearfar.recipes._translation_words import MaskedWords

CPU = torch.device("cpu")
LEXICON = """
man mann homme, woman frau femme, dog hund chien, child kind enfant, house haus maison
street straße rue, red rot rouge, blue blau bleu, two zwei deux, three drei trois
sees sieht voit, holds hält tient, near bei près, under unter sous, big groß grand, old alt vieux
"""
WORDS = dict(
    zip(
        ("en", "de", "fr"),
        zip(
            *(entry.split() for entry in LEXICON.replace("\n", ",").split(",") if entry),
            strict=True,
        ),
        strict=True,
    )
)


def sentences(count: int, seed: int = 0, shortest: int = 4) -> dict[str, list[str]]:
    """Word for word translations; the order of words is part of what is said."""
    draw = np.random.default_rng(seed)
    every = [draw.permutation(16)[: draw.integers(shortest, 9)] for _ in range(count)]
    return {
        language: [" ".join(words[n] for n in row).capitalize() + "." for row in every]
        for language, words in WORDS.items()
    }


def write(path: Path, *columns: list[str], header: str = "") -> Path:
    lines = ["\t".join(row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *lines] if header else lines) + "\n", encoding="utf-8")
    return path


ROWS = [("A dog.", "Ein Hund."), ("Two cats!", "Zwei Katzen!"), ("No.", "Nein.")]


def test_every_form_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    en, de = (list(side) for side in zip(*ROWS, strict=True))
    write(tmp_path / "a.tsv", en, de, header="en\tde")
    write(tmp_path / "b.tsv", ["x"] * 3, en, de)
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress((tmp_path / "a.tsv").read_bytes()))
    for language, side in (("en", en), ("de", de)):
        write(tmp_path / f"d.{language}", side)
        raw = (tmp_path / f"d.{language}").read_bytes().replace(b"\n", b"\r\n")
        (tmp_path / f"e.{language}.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + raw))
    pq.write_table(pa.table({"en": en, "n": [1, 2, 3], "de": de}), tmp_path / "f.parquet")
    nested = pa.array([{"en": one, "de": two} for one, two in ROWS])
    pq.write_table(pa.table({"id": [1, 2, 3], "translation": nested}), tmp_path / "g.parquet")
    asked = {
        "a.tsv": None,
        "b.tsv": "en:2,de:3",
        "c.tsv.gz": None,
        "d": "en,de",
        "e": "en,de",
        "f.parquet": None,
        "g.parquet": None,
    }
    for name, languages in asked.items():
        (corpus,) = read_corpora(str(tmp_path / name), languages)
        assert corpus.rows == ROWS, name
        assert corpus.languages == ["en", "de"]
        assert not corpus.skipped
    both = f"{tmp_path / 'd.en'},{tmp_path / 'e.de.gz'}"
    assert read_corpora(both)[0].rows == ROWS
    assert read_corpora(str(tmp_path / "d"), "de,en")[0].rows[0] == ROWS[0][::-1]
    (tmp_path / "README").write_text("nobody's translation\n")
    assert sorted(corpus.name for corpus in read_corpora(str(tmp_path))) == [
        "a.tsv", "b.tsv", "c.tsv.gz", "d", "e", "f.parquet", "g.parquet",
    ]  # fmt: skip


def test_damaged_lines_are_skipped_and_named(tmp_path: Path) -> None:
    good = "\n".join(f"good {n}\tgut {n}" for n in range(3000)).encode()
    (tmp_path / "a.tsv").write_bytes(b"one\teins\nalone\n \tleer\nbad \xff\tx\ntwo\tzwei\n")
    corpus = read_corpora(str(tmp_path / "a.tsv"))[0]
    assert corpus.rows == [("one", "eins"), ("two", "zwei")]
    assert list(corpus.skipped.values()) == [
        "a.tsv, line 4: no UTF-8", "a.tsv, line 2: 1 column(s)", "a.tsv, line 3: an empty side",
    ]  # fmt: skip
    packed = gzip.compress(good, 0)
    (tmp_path / "b.tsv.gz").write_bytes(packed[: len(packed) // 2])
    cut = read_corpora(str(tmp_path / "b.tsv.gz"))[0]
    assert len(cut.rows) > 500
    assert "cannot be read to its end" in cut.skipped["b.tsv.gz"]


def test_bad_paths_and_columns(tmp_path: Path) -> None:
    write(tmp_path / "a.en", ["x", "y"])
    write(tmp_path / "a.de", ["x"])
    write(tmp_path / "t.tsv", ["x"], ["y"], header="en\tde")
    (tmp_path / "no.parquet").write_text("text")
    cases = {
        str(tmp_path / "nothing"): "no sentences there",
        str(tmp_path / "no.parquet"): "no Parquet file",
        f"{tmp_path / 'a.en'},{tmp_path / 'b.de'}": r"no file .*b\.de",
        str(tmp_path / "a"): r"a\.de has 1, a\.en has 2",
    }
    for path, message in cases.items():
        with pytest.raises(NearfarError, match=message):
            read_corpora(path)
    with pytest.raises(NearfarError, match="no column 'fr'; it has en, de"):
        read_corpora(str(tmp_path / "t.tsv"), "en,fr")
    with pytest.raises(NearfarError, match="1 row"):
        two_or_more(Bitext.read(str(tmp_path / "t.tsv"))[0])


def bitext(*rows: tuple[str, ...]) -> Bitext:
    texts = [text for row in rows for text in row]
    number = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    names = [name for row in rows for name in ("en", "de", "fr")[: len(row)]]
    return Bitext(texts, number, names)


def test_who_shares_a_sentence_is_no_negative() -> None:
    found = bitext(
        ("Go.", "Geh."), ("Go on!", "Weiter"), ("go", "Los!"), ("Run.", "los"), ("«Geh»", "x"),
    )  # fmt: skip
    groups = found.groups().tolist()
    assert groups[0] == groups[2] == groups[3] == groups[4] != groups[1]
    assert different(found).texts == ["Go.", "Geh.", "Go on!", "Weiter"]
    assert normalised("?!") != normalised("...")
    assert normalised("Straße 5") != normalised("Straße 6")


def test_overlaps_with_test_data_are_removed_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "test.tsv", ["A dog", "never"], ["Anders", "nie"])
    found, remarks = kept_apart(bitext(*ROWS), str(tmp_path / "test.tsv"))
    assert found.texts == ["Two cats!", "Zwei Katzen!", "No.", "Nein."]
    assert found.rows.tolist() == [0, 0, 1, 1]
    assert remarks[0].startswith("1 of 3 rows share a sentence with")


def test_held_out_rows_share_nothing_with_those_learned_from() -> None:
    made = sentences(300)
    rows = [*zip(made["en"], made["de"], strict=True)]
    rows += [(en, de.upper() + " ja") for en, de in rows[:100]]
    learned, judged = split(bitext(*rows), 20)
    assert judged is not None
    assert judged.height == 20
    assert learned.apart_from(judged.texts).all()
    assert split(bitext(*rows), 0)[1] is None


def test_sides_of_three_languages() -> None:
    found = bitext(("a", "b", "c"), ("d", "e"), ("f", "g", "h")).sides()
    assert found["en", "de"] == (["a", "d", "f"], ["b", "e", "g"])
    assert found["de", "fr"] == (["b", "g"], ["c", "h"])


def reader(texts: list[str] | None = None, size: int = 120) -> SentenceReader:
    made = sentences(200)
    return SentenceReader(train_tokenizer(texts or made["en"] + made["de"] + made["fr"], size))


def test_subwords_spell_what_they_read() -> None:
    own = reader()
    ids = own.read(["Man sees DOG.", "man"])
    assert own.tokenizer.decode(ids[0].tolist()) == "man sees dog."
    assert (ids[1] == own.pad).sum() > 0
    assert SentenceReader(own.settings["tokenizer"], 3).read(["man sees dog"]).shape[1] <= 3
    again = rebuild(describe(own), SentenceReader)
    assert torch.equal(again.read(["Man sees DOG."])[0], ids[0])
    with pytest.raises(NearfarError, match="no sentence"):
        own.read([3])
    with pytest.raises(NearfarError, match="longest=0"):
        SentenceReader(own.settings["tokenizer"], 0)
    with pytest.raises(NearfarError, match="no tokenizer"):
        SentenceReader("{}")


def test_a_view_misses_subwords_and_is_never_empty() -> None:
    tokens = Tokens([[5], [6, 7, 8, 9], []], pad=0)
    assert tokens.padded().tolist() == [[5, 0, 0, 0], [6, 7, 8, 9], [0, 0, 0, 0]]
    with seeded(0):
        seen = tokens.padded(torch.ones(4000, dtype=torch.int64), drop=0.25)
        always = tokens.padded(torch.tensor([0, 1]), drop=1.0)
    assert (seen != 0).sum().item() / 16000 == pytest.approx(0.75, abs=0.02)
    full = seen.masked_fill(seen == 0, 99)
    assert (full[:, 1:] >= full[:, :-1]).all()  # the order stays, padding behind
    assert (always != 0).sum(1).tolist() == [1, 1]


def test_pairs_are_of_one_row_and_all_directions_come_up() -> None:
    made = sentences(50)
    rows = [*zip(made["en"], made["de"], made["fr"], strict=True)]
    found = bitext(*rows)
    own = reader()
    pairs = TranslationPairs(found, own, drop=0.0)
    spelled = {normalised(text): (row, name) for text, row, name in zip(
        found.texts, found.rows.tolist(), found.languages, strict=True
    )}  # fmt: skip
    directions = set()
    which = torch.arange(50).repeat(8)
    with seeded(0):
        batch = pairs.draw(which, CPU)
    for row, query, key in zip(which.tolist(), batch.query, batch.key, strict=True):
        (one, a), (two, b) = (
            spelled[normalised(own.tokenizer.decode(x[x != 0].tolist()))] for x in (query, key)
        )
        assert one == two == row
        directions.add((a, b))
    assert len(directions) == 6
    with seeded(0):
        assert torch.equal(pairs.draw(which, CPU).key, batch.key)
    assert pairs.names(torch.tensor([1]))[0] == f"{made['en'][1]} / {made['de'][1]}"
    assert pairs.firsts == made["en"]


def test_shuffled_subwords_keep_words_and_the_stop() -> None:
    own = reader()
    starts = torch.tensor(word_starts(own.tokenizer))
    letters = torch.tensor(has_letters(own.tokenizer))
    text = "man holds woman near straße under maison."
    x = own.read([text, "dog sees man."] * 50)
    with seeded(0):
        changed = shuffled(x, starts, letters, own.pad)
    spelled = [own.tokenizer.decode(row[row != 0].tolist()) for row in changed]
    assert {" ".join(sorted(s.rstrip(".").split())) for s in spelled[::2]} == {
        " ".join(sorted(text.rstrip(".").split()))
    }
    assert all(s.endswith(".") for s in spelled)
    assert len(set(spelled[::2])) > 40
    assert len(set(spelled[1::2])) == 6


def test_fakes_of_text() -> None:
    fakes = shuffled_words(["q", "q"], ["Ein Hund sieht eine Katze.", "Zu kurz."])
    assert len(fakes.fakes) == 1
    assert fakes.fakes[0] != fakes.truths[0]
    assert sorted(fakes.fakes[0][:-1].split()) == sorted(fakes.truths[0][:-1].split())
    assert fakes.fakes[0].endswith(".")
    de = swapped_words(["q"] * 3, ["Zwei rote Hunde.", "Er ist nicht da.", "Nichts."], "deu")
    assert de["number"].fakes[0].split()[0] in ("Drei", "Vier", "Fünf", "Sechs")
    assert de["colour"].fakes[0].split()[1] in (
        "blaue",
        "grüne",
        "gelbe",
        "weiße",
        "schwarze",
        "braune",
    )
    assert de["negation"].fakes == ["Er ist da."]
    assert swapped_words(["q"], ["Il ne sait pas."], "fr")["negation"].fakes == ["Il sait."]
    assert swapped_words(["q"], ["He doesn't know."], "en")["negation"].fakes == ["He does know."]
    assert swapped_words(["q"], ["dva"], "cs") == {}


def turned(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((count, 16)).astype(np.float32)
    return x, x + noise * draw.standard_normal((count, 16)).astype(np.float32)


def test_margin_is_the_papers() -> None:
    left, right = turned(40, 0.8)
    right = right[:30]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right)]
    cosine = unit[0] @ unit[1].T
    mine = np.concatenate([margin for _, _, margin in Margin.of(left, right, k=4).scores()])
    for i, j in ((0, 0), (7, 3), (39, 29)):
        there = np.sort(cosine[i])[-4:].sum() / 8
        back = np.sort(cosine[:, j])[-4:].sum() / 8
        assert mine[i, j] == pytest.approx(cosine[i, j] / (there + back), rel=1e-4)
    one, two, score = Margin.of(left, right).candidates()
    assert len(set(one.tolist())) == len(one) <= 30
    assert len(set(two.tolist())) == len(two)
    assert (np.diff(score) <= 0).all()
    with pytest.raises(NearfarError, match="k=0"):
        Margin.of(left, right, k=0)


def test_margin_scores_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    margin = Margin.of(*turned(50, 0.5))
    whole = margin.candidates()
    monkeypatch.setattr("nearfar.probes._bitext_margin._ROWS", 7)
    for a, b in zip(whole, margin.candidates(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_mining_takes_the_threshold_that_it_was_given() -> None:
    left, right = turned(300, 0.6)
    gold = np.stack([np.arange(200)] * 2)
    lonely = turned(100, 0.0, seed=9)[0]
    sides = left, np.concatenate([right[:200], lonely]), gold
    threshold = best_threshold(*sides)
    best = mining(*sides, threshold)
    assert best["f1"] > 0.9
    assert best["f1"] >= max(mining(*sides, threshold + d)["f1"] for d in (-0.3, -0.1, 0.1, 0.3))
    assert mining(*sides, 99.0)["f1"] == 0
    assert mining(*sides, -99.0)["precision"] < best["precision"]


def small(size: int = 60) -> TextTransformer:
    return TextTransformer(small_config(size, width=16, heads=2, longest=32))


@pytest.mark.parametrize("encoder", [small(), SubwordBag(60, 16)], ids=["transformer", "bag"])
def test_a_vector_does_not_depend_on_the_batch(
    encoder: TextTransformer | SubwordBag, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = [[5, 6, 7, 8, 9, 10], [11], [], [12, 13, 14], [9, 8, 7, 6, 5, 10]]
    tokens = Tokens(lists, pad=0)
    with torch.no_grad():
        encoder.eval()
        whole = encoder(tokens.padded())
        monkeypatch.setattr("nearfar.encoders._sentence._AT_ONCE", 8)
        torch.testing.assert_close(encoder(tokens.padded()), whole, atol=1e-5, rtol=1e-4)
        for row in range(5):
            alone = encoder(tokens.padded(torch.tensor([row])))
            torch.testing.assert_close(alone[0], whole[row], atol=1e-5, rtol=1e-4)
    assert torch.isfinite(whole).all()
    sees_order = not torch.allclose(whole[0], whole[4], atol=1e-5)
    assert sees_order == isinstance(encoder, TextTransformer)
    assert rebuild(describe(encoder), nearfar.encoders.Encoder).settings == encoder.settings


@pytest.mark.parametrize("pairs", [False, True])
def test_hidden_words_are_learned(pairs: bool) -> None:
    torch.manual_seed(0)
    encoder = small(40)
    words = MaskedWords(encoder, 4, pairs=pairs, share=1.0)
    # The second word follows from the first.
    first = torch.randint(5, 20, (64, 1))
    numbers = torch.cat([first, first + 20, first, first + 20], 1)
    batch = nearfar.pairs.Batch(numbers, numbers, torch.arange(64))
    model = Model(SentenceReader(train_tokenizer(["a b"], 20)), encoder)
    parameters = [*encoder.parameters(), *words.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-2)
    losses = []
    for _ in range(120):
        loss = words(model, batch, torch.zeros(64, 16))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3.0  # about log 40
    assert np.mean(losses[-10:]) < 1.5
    assert encoder.words.grad is not None  # the output layer is the table of words
    right, commonest = words.accuracy(encoder, Tokens(numbers.tolist(), pad=0))
    assert right > commonest + 0.3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    made = sentences(600)
    write(folder / "pairs.tsv", made["en"], made["de"], made["fr"], header="en\tde\tfr")
    words = ["train", "translation", str(folder / "pairs.tsv"), "--out", str(folder / "run")]
    words += ["--steps", "60", "--batch_size", "64", "--width", "32", "--vocabulary", "120"]
    words += ["--held_out", "60", "--masked_words", "0.3", "--lr", "5e-3", "--longest", "24"]
    assert main(words) == 0
    return folder


def test_training_beats_the_untrained_encoder(trained: Path) -> None:
    rows = json.loads((trained / "run" / "scores.json").read_text())["rows"]
    assert set(rows) == {"learned", "untrained", "character n-grams"}
    for name in ("en-de", "de-en", "en-fr", "fr-de", "en-de-margin", "mining"):
        assert rows["learned"][name] > rows["untrained"][name] + 0.2, name
    assert rows["learned"]["word order"] > 0.6
    kept = json.loads((trained / "run" / "exhibits.json").read_text())
    assert kept["sections"][-1]["title"] == "Hidden words"


def test_evaluating_other_pairs(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sentences(60, seed=7)
    path = write(trained / "other.tsv", made["en"], made["de"], header="en\tde")
    assert main(["evaluate", str(trained / "run"), str(path), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["learned"]["en-de"] > rows["untrained"]["en-de"]
    assert {"number", "colour", "word order", "mining"} < set(rows["learned"])


def test_mining_writes_scored_pairs(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, more = sentences(90, seed=8, shortest=6), sentences(90, seed=9, shortest=6)
    write(trained / "a.txt", made["en"])
    write(trained / "b.txt", made["de"][:60] + more["de"][:30])
    write(trained / "tune.tsv", more["en"][30:], more["de"][30:], header="en\tde")
    words = ["mine", str(trained / "a.txt"), str(trained / "b.txt"), "--run", str(trained / "run")]
    out = trained / "mined.tsv"
    assert main([*words, "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert said["pairs"] == len(lines) > 60
    scores = [float(line[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    true = dict(zip(made["en"], made["de"], strict=True))
    assert np.mean([true[left] == right for _, left, right in lines[:30]]) > 0.8
    tuned = [*words, "--out", str(out), "--tune", str(trained / "tune.tsv")]
    assert main(tuned) == 0
    kept = out.read_text().splitlines()
    assert 20 < len(kept) < len(lines)
    assert main([*tuned, "--threshold", "1"]) == 1
    assert "two ways" in capsys.readouterr().err


def test_search_and_embed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = sentences(600)
    run, data = str(trained / "run"), str(trained / "pairs.tsv")
    assert main(["search", run, made["en"][3], "--gallery", data, "--k", "3", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["nearest"]
    assert hits[0]["name"] == made["en"][3]
    out = trained / "vectors.parquet"
    assert main(["embed", run, data, "--out", str(out)]) == 0
    assert pq.read_table(out).num_rows == 1800


def test_an_exported_model_encodes_the_same(trained: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = trained / "exported"
    assert main(["export", str(trained / "run"), "--to", str(folder)]) == 0
    texts = sentences(20, seed=5)["fr"] + ["", "straße " * 60]
    own = nearfar.load(trained / "run").embed(texts)
    modules = json.loads((folder / "modules.json").read_text())
    assert [m["type"].rpartition(".")[2] for m in modules] == [
        "Transformer",
        "WordWeights",
        "Pooling",
        "Normalize",
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(texts[:20], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    words = json.loads((folder / "1_WordWeights" / "config.json").read_text())
    by_number = torch.tensor([words["word_weights"][name] for name in words["vocab"]])
    assert by_number.std() > 0
    weights = (by_number[batch["input_ids"]] * batch["attention_mask"])[..., None]
    mean = torch.nn.functional.normalize((hidden * weights).sum(1))
    np.testing.assert_allclose(mean.numpy(), own[:20], atol=1e-5)
    long = tokenizer(texts[21], truncation=True)["input_ids"]
    assert len(long) == 24


@pytest.mark.filterwarnings("ignore")  # the other library's own
def test_sentence_transformers_encodes_the_same(trained: Path) -> None:
    other = pytest.importorskip("sentence_transformers")
    folder = trained / "opened"
    assert main(["export", str(trained / "run"), "--to", str(folder)]) == 0
    texts = [*sentences(20, seed=5)["de"], "straße " * 60]
    vectors = other.SentenceTransformer(str(folder), device="cpu").encode(texts)
    np.testing.assert_allclose(vectors, nearfar.load(trained / "run").embed(texts), atol=1e-5)


def test_a_bag_has_no_export(trained: Path) -> None:
    own = reader()
    with pytest.raises(NearfarError, match="SubwordBag"):
        to_sentence_transformers(
            Model(own, SubwordBag(own.tokenizer.get_vocab_size(), 8)), trained / "x"
        )


def test_a_checkpoint_in_a_folder_is_a_beginning(trained: Path) -> None:
    folder = trained / "checkpoint"
    to_sentence_transformers(nearfar.load(trained / "run"), folder)
    words = ["train", "translation", str(trained / "pairs.tsv"), "--encoder", str(folder)]
    words += [
        "--out",
        str(trained / "further"),
        "--steps",
        "1",
        "--batch_size",
        "16",
        "--held_out",
        "0",
    ]
    assert main([*words, "--lr", "1e-9", "--warmup", "0", "--longest", "24"]) == 0
    texts = sentences(9, seed=3)["de"]
    before, after = (nearfar.load(trained / name).embed(texts) for name in ("run", "further"))
    np.testing.assert_allclose(before, after, atol=1e-3)
    assert main([*words[:3], "--encoder", str(trained / "none")]) == 1


def test_heads_share_the_width(tmp_path: Path) -> None:
    from nearfar.recipes.translation import translation

    rows = [f"the cat {number}\tdie Katze {number}" for number in range(9)]
    (tmp_path / "pairs.tsv").write_text("\n".join(["en\tde", *rows]))
    with pytest.raises(NearfarError, match=r"width=200: .* has 3 heads\. Wanted .* --width 198"):
        translation(str(tmp_path / "pairs.tsv"), width=200)


def test_a_run_follows_from_its_seed(trained: Path) -> None:
    words = ["train", "translation", str(trained / "pairs.tsv"), "--steps", "3", "--width", "32"]
    words += ["--batch_size", "16", "--vocabulary", "120", "--masked_words", "1"]
    words += ["--masked_pairs", "--margin", "0.1", "--held_out", "0"]
    for name in ("once", "twice"):
        assert main([*words, "--out", str(trained / name)]) == 0
    a, b = (nearfar.load(trained / name).state_dict() for name in ("once", "twice"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_bag_trains(trained: Path) -> None:
    words = ["train", "translation", str(trained / "pairs.tsv"), "--encoder", "bag"]
    words += ["--steps", "60", "--batch_size", "64", "--width", "32", "--vocabulary", "120"]
    assert main([*words, "--lr", "2e-2", "--out", str(trained / "bag")]) == 0
    rows = json.loads((trained / "bag" / "scores.json").read_text())["rows"]
    assert rows["learned"]["en-de"] > rows["untrained"]["en-de"] + 0.2
    assert rows["learned"]["word order"] < 0.05


def test_a_transformer_begins_as_the_bag_it_starts_from(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "translation", str(trained / "pairs.tsv"), "--batch_size", "16"]
    bag = [*words, "--encoder", "bag", "--width", "32", "--vocabulary", "120", "--steps", "40"]
    assert main([*bag, "--lr", "2e-2", "--held_out", "0", "--out", str(trained / "start")]) == 0
    further = [*words, "--start", str(trained / "start"), "--steps", "1", "--held_out", "0"]
    assert main([*further, "--width", "32", "--lr", "1e-9", "--out", str(trained / "begun")]) == 0
    texts = sentences(60, seed=4)["de"]
    begun, own = (nearfar.load(trained / name) for name in ("begun", "start"))
    weighed = (begun.embed(texts) * own.embed(texts)).sum(1).mean()
    begun.encoder.log_weights.weight.data.zero_()
    plain = (begun.embed(texts) * own.embed(texts)).sum(1).mean()
    assert weighed > max(plain, 0.9)
    assert main([*further, "--width", "64", "--out", str(trained / "misfit")]) == 1
    assert "other settings" in capsys.readouterr().err
