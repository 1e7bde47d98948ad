"""Where a translation recipe begins: its sentences, its subwords, its encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nearfar.encoders import Encoder, SubwordBag, TextTransformer, small_config
from nearfar.errors import NearfarError
from nearfar.model import load
from nearfar.pairs.translation import (
    Bitext,
    SentenceReader,
    different,
    read_tokenizer,
    train_tokenizer,
    two_or_more,
)


def kept_apart(bitext: Bitext, exclude: str | None) -> tuple[Bitext, list[str]]:
    """The rows that share no sentence with the excluded files, and a remark that counts the others.

    Args:
        bitext: To learn from.
        exclude: Paths of test data with ``+`` between them, each as `read_corpora` takes it.
    """
    if exclude is None:
        return bitext, []
    remarks = []
    for path in exclude.split("+"):
        taken, _ = Bitext.read(path)
        clear = bitext.apart_from(taken.texts)
        remarks.append(
            f"{int((~clear).sum()):,} of {len(clear):,} rows share a sentence with {path} and are "
            "left out"
        )
        bitext = bitext.only(clear)
    return bitext, remarks


def split(bitext: Bitext, held_out: int) -> tuple[Bitext, Bitext | None]:
    """Rows to learn from and rows to judge by; what belongs together stays together.

    Args:
        bitext: All rows.
        held_out: How many to judge by, at most a tenth; 0 for none.
    """
    bitext = two_or_more(bitext)
    groups = bitext.groups()
    names = np.unique(groups)
    count = min(held_out, len(names) // 10)
    if count < 4:
        return bitext, None
    chosen = np.random.default_rng(0).choice(names, count, replace=False)
    judged = np.isin(groups, chosen)
    return bitext.only(~judged), different(bitext.only(judged))


def reader_for(
    bitext: Bitext,
    encoder: str,
    start: str | None,
    tokenizer: str | None,
    vocabulary: int,
    lowercase: bool,
    longest: int,
) -> SentenceReader:
    """With the tokenizer of a run, one that is named, a checkpoint's, or one learned here."""
    if start is not None:
        before = load(start).reader
        if not isinstance(before, SentenceReader):
            raise NearfarError(f"start={start!r} reads no sentences; wanted a translation run.")
        return SentenceReader(before.settings["tokenizer"], longest)
    if tokenizer is None and encoder not in ("transformer", "bag"):
        tokenizer = encoder
    if tokenizer is not None:
        return SentenceReader(read_tokenizer(tokenizer), longest)
    return SentenceReader(train_tokenizer(bitext.texts, vocabulary, lowercase), longest)


def encoder_for(name: str, reader: SentenceReader, width: int, layers: int) -> Encoder:
    """A small Transformer, a bag of subwords, or a checkpoint in a folder.

    Raises:
        NearfarError: No such encoder, one with another vocabulary than the tokenizer's, or a width
            that heads cannot share.
    """
    size = reader.tokenizer.get_vocab_size()
    if name == "bag":
        return SubwordBag(size, width, reader.pad)
    if name == "transformer":
        longest, heads = 2 * reader.settings["longest"], max(1, width // 64)
        if width % heads:
            raise NearfarError(
                f"width={width}: a transformer of this width has {heads} heads. Wanted a multiple "
                f"of {heads}, such as --width {width // heads * heads}."
            )
        config = small_config(size, width, layers, heads, longest)
        # Positions are numbered behind the padding's.
        config |= {"pad_token_id": reader.pad, "max_position_embeddings": longest + reader.pad + 1}
        return TextTransformer(config)
    if not Path(name).is_dir():
        raise NearfarError(
            f"encoder={name!r}: wanted 'transformer', 'bag', or a folder with a text model's "
            "config.json and model.safetensors."
        )
    encoder = TextTransformer.load(name)
    if len(encoder.words) < size or encoder.pad != reader.pad:
        raise NearfarError(
            f"encoder={name!r} knows {len(encoder.words):,} subwords, its padding is "
            f"{encoder.pad}; the tokenizer has {size:,} and {reader.pad}. Wanted the tokenizer "
            "that the model was trained with."
        )
    return encoder


@torch.no_grad()
def begin_from(run: str, encoder: Encoder) -> None:
    """Copy what another run has learned: all of it, or a bag's subword vectors for a Transformer.

    Before training a `small_config` Transformer averages its subwords much as a bag does, and a bag
    learns their vectors twenty times faster than a Transformer would. How much a subword counts is
    the length of its vector.

    Args:
        run: A translation run.
        encoder: Changed in place.

    Raises:
        NearfarError: What was learned there does not fit.
    """
    before = load(run).encoder
    if (
        isinstance(before, SubwordBag)
        and isinstance(encoder, TextTransformer)
        and encoder.words.shape == before.words.shape
    ):
        encoder.words.copy_(before.words)
        lengths = before.words.norm(dim=1, keepdim=True).clamp_min(1e-6)
        encoder.log_weights.weight.copy_((lengths / lengths.mean()).log())
    elif before.settings == encoder.settings:
        encoder.load_state_dict(before.state_dict())
    else:
        raise NearfarError(
            f"start={run!r} is a {type(before).__name__} of other settings than the "
            f"{type(encoder).__name__} that is trained. Wanted the same --encoder, --width, "
            "--layers and --longest, or a bag of the same --width."
        )
