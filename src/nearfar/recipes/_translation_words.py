"""Further objectives for sentences: hidden words, and fakes of one's own translation."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar.encoders import TextTransformer
from nearfar.experiment import Auxiliary
from nearfar.loss import Temperature, info_nce
from nearfar.model import Model
from nearfar.pairs import Batch
from nearfar.pairs.translation import Tokens, closed


class MaskedWords(Auxiliary):
    """Say which subwords were hidden, from what is left (Devlin et al. 2019, arXiv 1810.04805).

    15 % of the subwords are asked for; of these 80 % are hidden, 10 % are another subword and 10 %
    stay. The output layer's matrix is the table of the encoder's own subword vectors.

    Args:
        encoder: What is trained.
        mask: The subword that hides another.
        corpus: Sentences in one language to learn from; by default the batch's own.
        pairs: Hide words of a sentence and its translation side by side, so that either can be
            read in the other (TLM: Conneau & Lample 2019, arXiv 1901.07291, section 3.3).
        share: How many sentences a step are read, as a share of the batch.
        weight: Of this loss.
    """

    def __init__(
        self,
        encoder: TextTransformer,
        mask: int,
        corpus: Tokens | None = None,
        *,
        pairs: bool = False,
        share: float = 0.25,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.mask, self.pairs, self.share = weight, mask, pairs, share
        self._corpus = corpus
        self.body = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.LayerNorm(encoder.dim)
        )
        self.bias = nn.Parameter(torch.zeros(len(encoder.words)))

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        encoder = cast(TextTransformer, model.encoder)
        rows = max(1, round(self.share * len(batch.query)))
        if self._corpus is not None:
            chosen = torch.randint(len(self._corpus), (rows,))
            numbers = self._corpus.padded(chosen).to(batch.query.device)
        else:
            numbers = batch.query[:rows]
            if self.pairs:
                numbers = torch.cat([numbers, batch.key[:rows]], 1)
                numbers = closed(numbers, numbers != encoder.pad, encoder.pad)
        logits, wanted = self.guess(encoder, numbers)
        return functional.cross_entropy(logits.float(), wanted)

    def guess(self, encoder: TextTransformer, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Hide some subwords of (N, L) and guess them.

        Returns:
            (hidden, vocabulary) logits, and (hidden,) what was there.
        """
        inside = numbers != encoder.pad
        # Of the shortest text too, one subword is asked for.
        draw = torch.rand(numbers.shape).to(numbers.device).masked_fill(~inside, 2.0)
        asked = inside & ((draw < 0.15) | (draw == draw.min(1, keepdim=True).values))
        dice = torch.rand(numbers.shape).to(numbers.device)
        other = torch.randint(len(encoder.words), numbers.shape).to(numbers.device)
        other = torch.where(other == encoder.pad, self.mask, other)
        seen = torch.where(asked & (dice < 0.8), self.mask, numbers)
        seen = torch.where(asked & (dice >= 0.9), other, seen)
        found, wanted = [], []
        for rows, wide in encoder.parts(numbers):
            here = asked[rows, :wide]
            found.append(encoder.hidden(seen[rows, :wide])[here])
            wanted.append(numbers[rows, :wide][here])
        guessed = self.body(torch.cat(found))
        return functional.linear(guessed, encoder.words, self.bias), torch.cat(wanted)

    @torch.no_grad()
    def accuracy(self, encoder: TextTransformer, tokens: Tokens) -> tuple[float, float]:
        """Share of hidden subwords that are guessed, and that the commonest subword would be."""
        right = total = 0
        everything: list[Tensor] = []
        for rows in torch.split(torch.arange(len(tokens)), 512):
            numbers = tokens.padded(rows).to(encoder.words.device)
            logits, wanted = self.guess(encoder, numbers)
            right += int((logits.argmax(1) == wanted).sum())
            total += len(wanted)
            everything.append(wanted)
        commonest = int(torch.cat(everything).bincount().max())
        return right / max(1, total), commonest / max(1, total)


class OwnFakes(Auxiliary):
    """A sentence must be nearer to its translation than to a fake of the translation.

    InfoNCE with one negative for each query: what the crowd of other translations cannot teach,
    since their words tell them apart already.

    Args:
        fake: (N, L) subwords to fakes of them; a row that comes back as it was is not asked.
        temperature: The recipe's.
        share: How many sentences a step are asked, as a share of the batch.
        weight: Of this loss.
    """

    def __init__(
        self,
        fake: Callable[[Tensor], Tensor],
        temperature: Temperature,
        *,
        share: float = 0.25,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.share, self.fake = weight, share, fake
        # Registered by the experiment already.
        self._temperature = [temperature]

    def forward(self, model: Model, batch: Batch, vectors: Tensor) -> Tensor:
        rows = max(1, round(self.share * len(batch.query)))
        keys = batch.key[:rows]
        fakes = self.fake(keys)
        changed = (fakes != keys).any(1)
        if not changed.any():
            return vectors.sum() * 0.0
        true, fake = model.encoder(torch.cat([keys[changed], fakes[changed]])).chunk(2)
        return info_nce(
            vectors[:rows][changed],
            true,
            fake[:, None],
            self._temperature[0],
            negative_mode="paired",
            group=None,
        )
