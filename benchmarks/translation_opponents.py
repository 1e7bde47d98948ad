"""What needs no network: shared spelling, a dictionary, latent semantics of two languages."""

from __future__ import annotations

import re

import numpy as np
from scipy.sparse import hstack
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer
from translation_data import Data, Sides

from nearfar.pairs.translation import Bitext, character_ngrams
from nearfar.probes import Embed

Both = tuple[Embed, Embed]


def opponents(data: Data) -> dict[str, Both]:
    """Name to what embeds English, and what embeds the other language."""
    found, _ = Bitext.read(data.train, f"en,{data.other}")
    excluded = [text for path in data.exclude.split("+") for text in Bitext.read(path)[0].texts]
    pairs = found.only(found.apart_from(excluded)).sides()["en", data.other]
    return {
        "character n-grams": (character_ngrams, character_ngrams),
        "dictionary": dictionary(data, pairs),
        "LSA over both languages": lsa(pairs, 400),
        "LSA + CCA": cca(pairs, 600),
    }


def dictionary(data: Data, pairs: Sides) -> Both:
    """English word for word into the other language; then tf-idf of character n-grams.

    A word that the dictionary does not know stays as it is; of one that it knows, the first three
    translations are taken. 4,096 hashed features.
    """
    words = data.dictionary()
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=4096, norm=None, alternate_sign=False
    )
    weigh = TfidfTransformer(sublinear_tf=True).fit(hashed.transform(pairs[1]))

    def embed(texts: list[str]) -> np.ndarray:
        return weigh.transform(hashed.transform(texts)).toarray().astype(np.float32)

    def translated(texts: list[str]) -> np.ndarray:
        return embed([" ".join(_translate(text, words)) for text in texts])

    return translated, embed


def _translate(text: str, words: dict[str, list[str]]) -> list[str]:
    found = []
    for word in re.findall(r"\w+", text.lower()):
        stems = [word, word.removesuffix("s"), word.removesuffix("ing"), word.removesuffix("ed")]
        known = next((words[stem] for stem in stems if stem in words), [word])
        found += known[:3]
    return found


def lsa(pairs: Sides, size: int) -> Both:
    """A pair is one document with words of both languages (Littman et al. 1998)."""
    left, right = (_tfidf(side) for side in pairs)
    space = TruncatedSVD(size, random_state=0, n_iter=3).fit(
        hstack(
            [vectors.transform(side) for vectors, side in zip((left, right), pairs, strict=True)]
        )
    )
    width = len(left.get_feature_names_out())
    parts = space.components_[:, :width].T, space.components_[:, width:].T
    return tuple(  # type: ignore[return-value]
        lambda texts, v=vectors, p=part: np.asarray(v.transform(texts) @ p, dtype=np.float32)
        for vectors, part in zip((left, right), parts, strict=True)
    )


def cca(pairs: Sides, size: int, shrink: float = 0.1) -> Both:
    """Each language's own LSA, then the directions in which pairs correlate most."""
    spaces = []
    for side in pairs:
        vectors = _tfidf(side)
        svd = TruncatedSVD(size, random_state=0, n_iter=3)
        reduced = svd.fit_transform(vectors.transform(side))
        mean = reduced.mean(0)
        values, axes = np.linalg.eigh(np.cov((reduced - mean).T))
        floor = shrink * values.mean()
        white = axes / np.sqrt(values.clip(0) + floor)
        spaces.append((vectors, svd, mean, white, (reduced - mean) @ white))
    u, s, v = np.linalg.svd(spaces[0][4].T @ spaces[1][4] / len(pairs[0]))
    found = []
    for (vectors, svd, mean, white, _), turn in zip(spaces, (u, v.T), strict=True):
        project = white @ turn * np.sqrt(s)

        def embed(texts: list[str], own=vectors, svd=svd, mean=mean, project=project) -> np.ndarray:
            return ((svd.transform(own.transform(texts)) - mean) @ project).astype(np.float32)

        found.append(embed)
    return found[0], found[1]


def _tfidf(texts: list[str]) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, min_df=2, token_pattern=r"\w+").fit(texts)
