"""Translation: a sentence and its human translation belong together, in one bilingual encoder.

InfoNCE in both directions aligns them: each sentence must find its translation among all others of
the batch (Feng et al. 2022, LaBSE, arXiv 2007.01852, equation 1, with its additive margin where
wanted). Rows that share a sentence are never negatives of each other. Two more objectives keep what
that game does not ask for: hidden words must be guessed from their sentence, and a translation must
be nearer than its own words in another order.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nearfar.encoders import TextTransformer
from nearfar.errors import check_range
from nearfar.experiment import Auxiliary, Experiment
from nearfar.loss import Temperature, info_nce
from nearfar.model import Model
from nearfar.pairs.translation import (
    Bitext,
    TranslationPairs,
    bitext_probe,
    halves,
    has_letters,
    shuffled,
    special,
    word_starts,
)
from nearfar.recipes._translation_exhibits import exhibits
from nearfar.recipes._translation_start import (
    begin_from,
    encoder_for,
    kept_apart,
    reader_for,
    split,
)
from nearfar.recipes._translation_words import MaskedWords, OwnFakes


def translation(
    path: str,
    languages: str | None = None,
    exclude: str | None = None,
    held_out: int = 500,
    encoder: str = "transformer",
    start: str | None = None,
    tokenizer: str | None = None,
    vocabulary: int = 8000,
    lowercase: bool = True,
    longest: int = 48,
    width: int = 256,
    layers: int = 2,
    temperature: float = 0.05,
    margin: float = 0.0,
    drop: float = 0.1,
    fakes: float = 1.0,
    masked_words: float = 0.0,
    masked_pairs: bool = False,
    monolingual: str | None = None,
) -> Experiment:
    """Learn from sentences and their translations.

    Args:
        path: A TSV or Parquet file, aligned files ('a.en,a.de', or 'a' for both), or a folder of
            these, plain or .gz; two or more languages.
        languages: Which columns: names (en,de), or numbers with names (en:2,de:3); by default all
            that a header or the files' endings name, or the first two.
        exclude: Test data, several with + between them: rows that share a sentence are left out.
        held_out: Rows that are judged and not learned from, at most a tenth; 0 for none.
        encoder: transformer, bag (of subwords: fast, knows no order), or a folder with a text model
            of Hugging Face to start from.
        start: A run to begin from, with its tokenizer; a transformer begins well from a bag's run.
        tokenizer: A tokenizer.json, or a folder with one; by default learned from the sentences.
        vocabulary: Subwords of a learned tokenizer.
        lowercase: A learned tokenizer forgets capitals.
        longest: Subwords of a sentence that are read.
        width: Numbers of an embedding.
        layers: Of the transformer.
        temperature: How sharply hard negatives are weighted; low is sharp.
        margin: Taken from the similarity of a pair, so that it must win by more.
        drop: The chance that a subword is missing from a view.
        fakes: Weight of telling a translation from its own shuffled words; transformer only.
        masked_words: Weight of guessing hidden words; transformer only.
        masked_pairs: Words are hidden in a sentence and its translation side by side.
        monolingual: A file of sentences in which words are hidden; by default the batch's.
    """
    check_range(1, vocabulary=vocabulary, longest=longest, width=width, layers=layers)
    check_range(0, held_out=held_out, margin=margin, fakes=fakes, masked_words=masked_words)
    check_range(0, 1, "[)", drop=drop)
    tau = Temperature(temperature)
    every, skipped = Bitext.read(path, languages)
    every, remarks = kept_apart(every, exclude)
    learned, judged = split(every, held_out)
    reader = reader_for(learned, encoder, start, tokenizer, vocabulary, lowercase, longest)
    network = encoder_for(encoder, reader, width, layers)
    if start is not None:
        begin_from(start, network)
    pairs = TranslationPairs(learned, reader, drop)
    auxiliaries: dict[str, Auxiliary] = {}
    if isinstance(network, TextTransformer):
        if fakes:
            starts = torch.tensor(word_starts(reader.tokenizer))
            letters = torch.tensor(has_letters(reader.tokenizer))
            order = partial(shuffled, starts=starts, letters=letters, pad=reader.pad)
            auxiliaries["fakes"] = OwnFakes(order, tau, weight=fakes)
        if masked_words:
            corpus = None if monolingual is None else reader.tokens(Bitext.read(monolingual)[0])
            auxiliaries["masked_words"] = MaskedWords(
                network,
                special(reader.tokenizer, "mask"),
                corpus,
                pairs=masked_pairs,
                weight=masked_words,
            )
    ids = pairs.ids
    remarks += [
        f"{len(set(ids.tolist())):,} groups of rows that share no sentence; the largest has "
        f"{int(ids.bincount().max()):,} rows, none of which is a negative of another"
    ]
    return Experiment(
        model=Model(reader, network),
        pairs=pairs,
        objective=partial(both_ways, tau=tau, margin=margin),
        temperature=tau,
        inputs=pairs.firsts,
        probe=None if judged is None else bitext_probe(*halves(judged), learned),
        skipped=skipped,
        remarks=remarks,
        auxiliaries=auxiliaries,
        exhibits=partial(exhibits, judged, reader, auxiliaries.get("masked_words")),
        steps=4000 if encoder == "bag" else 600,
        batch_size=min(256, len(pairs)),
        lr=5e-3 if encoder == "bag" else 1.5e-3,
    )


def both_ways(
    query: Tensor, key: Tensor, *, ids: Tensor, tau: Temperature, margin: float
) -> Tensor:
    """Each sentence finds its translation, and each translation its sentence."""
    if not margin:
        return info_nce(query, key, temperature=tau, symmetric=True, ids=ids)
    there = info_nce(query, key, temperature=tau, ids=ids, margin=margin)
    return (there + info_nce(key, query, temperature=tau, ids=ids, margin=margin)) / 2
