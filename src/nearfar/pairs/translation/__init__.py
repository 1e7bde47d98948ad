"""Sentences and their translations: files, who is nobody's negative, subwords, pairs, fakes."""

from nearfar.pairs.translation._bitext import Bitext, normalised, two_or_more
from nearfar.pairs.translation._fakes import Fakes, shuffled, shuffled_words, swapped_words
from nearfar.pairs.translation._files import Corpus, read_corpora
from nearfar.pairs.translation._reader import (
    SentenceReader,
    bitext_probe,
    character_ngrams,
    different,
    halves,
)
from nearfar.pairs.translation._tokenizer import (
    has_letters,
    open_tokenizer,
    read_tokenizer,
    special,
    train_tokenizer,
    word_starts,
)
from nearfar.pairs.translation._tokens import Tokens, closed
from nearfar.pairs.translation._translation_pairs import TranslationPairs

__all__ = [
    "Bitext",
    "Corpus",
    "Fakes",
    "SentenceReader",
    "Tokens",
    "TranslationPairs",
    "bitext_probe",
    "character_ngrams",
    "closed",
    "different",
    "halves",
    "has_letters",
    "normalised",
    "open_tokenizer",
    "read_corpora",
    "read_tokenizer",
    "shuffled",
    "shuffled_words",
    "special",
    "swapped_words",
    "train_tokenizer",
    "two_or_more",
    "word_starts",
]
