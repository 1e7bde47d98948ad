"""Subwords: a joint byte-pair vocabulary of all languages, or any Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nearfar.errors import NearfarError

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_PAD = ("[PAD]", "<pad>", "<|padding|>")
_MASK = ("[MASK]", "<mask>")


def train_tokenizer(texts: Iterable[str], size: int = 8000, lowercase: bool = True) -> str:
    """Learn byte-pair merges (Sennrich et al. 2016, arXiv 1508.07909) from sentences.

    Args:
        texts: Of all languages, so that they share what they spell alike.
        size: Subwords at most, special ones included.
        lowercase: Forget capitals.

    Returns:
        The tokenizer as JSON, the ``tokenizer.json`` of Hugging Face.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="[UNK]"))
    forget = [normalizers.Lowercase()] if lowercase else []
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), *forget])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)]
    )
    made.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, min_frequency=2, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    return str(made.to_str())


def read_tokenizer(path: str) -> str:
    """A tokenizer of Hugging Face as JSON.

    Args:
        path: A ``tokenizer.json``, or a folder that holds a model's tokenizer.

    Raises:
        NearfarError: There is none, or none of the fast kind.
    """
    from transformers import AutoTokenizer

    try:
        if Path(path).is_file():
            return Path(path).read_text(encoding="utf-8")
        found = AutoTokenizer.from_pretrained(path, use_fast=True)
        return str(found.backend_tokenizer.to_str())
    except (OSError, ValueError, AttributeError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise NearfarError(
            f"tokenizer={path!r} could not be loaded: {reason} Wanted a tokenizer.json, or a "
            "folder that holds one."
        ) from error


def open_tokenizer(json: str, longest: int) -> Any:
    """A ``tokenizers.Tokenizer`` that cuts sentences at ``longest`` subwords.

    Raises:
        NearfarError: No tokenizer, or one without padding.
    """
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_str(json)
    except Exception as error:  # tokenizers raises nothing narrower
        raise NearfarError(f"tokenizer: no tokenizer of Hugging Face ({error}).") from error
    made.no_padding()
    made.enable_truncation(longest)
    special(made, "padding")
    return made


def special(tokenizer: Any, role: str) -> int:
    """The number of the padding, or of the mask that hides a word.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.
        role: ``padding`` or ``mask``.

    Raises:
        NearfarError: The vocabulary has none under its usual names.
    """
    names = _PAD if role == "padding" else _MASK
    found = [tokenizer.token_to_id(name) for name in names]
    number = next((each for each in found if each is not None), None)
    if number is None:
        raise NearfarError(
            f"The tokenizer has no {role}; wanted a special token named {' or '.join(names)}."
        )
    return int(number)


def word_starts(tokenizer: Any) -> list[bool]:
    """Of each subword, whether it begins a word.

    Example:
        >>> import json
        >>> tokenizer = open_tokenizer(train_tokenizer(["so so", "no no"], 20), longest=8)
        >>> starts = word_starts(tokenizer)
        >>> [starts[number] for number in tokenizer.encode("no").ids]
        [True]
    """
    size = tokenizer.get_vocab_size()
    names = [tokenizer.id_to_token(number) or "" for number in range(size)]
    if any(name.startswith("##") for name in names):
        return [not name.startswith("##") for name in names]
    return [name.startswith(("▁", "Ġ")) for name in names]


def has_letters(tokenizer: Any) -> list[bool]:
    """Of each subword, whether there is a letter or a digit in it."""
    size = tokenizer.get_vocab_size()
    return [
        any(sign.isalnum() for sign in tokenizer.id_to_token(number) or "")
        for number in range(size)
    ]
