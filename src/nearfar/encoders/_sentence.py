"""Sentences through a Transformer of Hugging Face: a weighted mean over subwords is the vector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearfar.encoders._encoder import Encoder
from nearfar.errors import NearfarError

# Subwords that go through at a time: small enough for a cache, large enough to keep a core busy.
_AT_ONCE = 4096
# Where sentence-transformers keeps how much each subword counts.
WORD_WEIGHTS = "1_WordWeights/config.json"


class TextTransformer(Encoder):
    """A text model built from its Hugging Face configuration.

    Sentences are sorted by length and go through in parts, each as wide as its own longest
    sentence: no time is lost on padding, and no vector depends on what else is in the batch.

    The last norm makes all positions equally long, so each subword also learns how much it counts;
    all begin at 1, which is the plain mean.

    Args:
        config: The model's configuration as plain JSON (``model_type`` names the architecture,
            ``pad_token_id`` the padding).

    Shapes:
        (N, L) int64 subwords, padding behind each sentence -> (N, dim): the weighted mean over a
        sentence's positions of the last hidden state.

    Example:
        >>> encoder = TextTransformer(small_config(50, width=8, heads=2))
        >>> encoder(torch.tensor([[7, 8, 9], [7, 8, 0]])).shape
        torch.Size([2, 8])
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        rest = {key: value for key, value in config.items() if key != "model_type"}
        self.settings = {"config": config}
        made = AutoConfig.for_model(config["model_type"], **rest)
        # For sentences of a few dozen subwords plain products are faster than fused attention: on a
        # CPU in bf16 a whole step takes half the time.
        self.model = AutoModel.from_config(made, attn_implementation="eager")  # type: ignore[no-untyped-call]
        # What a pooler would learn nobody reads.
        if isinstance(getattr(self.model, "pooler", None), nn.Module):
            self.model.pooler = None
        self.pad = int(self.model.config.pad_token_id or 0)
        self.dim = int(self.model.config.hidden_size)
        self.log_weights = nn.Embedding(len(self.words), 1)
        nn.init.zeros_(self.log_weights.weight)

    @classmethod
    def load(cls, folder: str) -> TextTransformer:
        """Start from a checkpoint of Hugging Face, with its weights.

        Args:
            folder: With ``config.json`` and ``model.safetensors``; weights of subwords, where
                `nearfar export` has put them, are read too.

        Raises:
            NearfarError: There is no such model.
        """
        from transformers import AutoConfig, AutoModel

        try:
            encoder = cls(AutoConfig.from_pretrained(folder).to_dict())
            trained = AutoModel.from_pretrained(folder, dtype=torch.float32)
            own = encoder.model.state_dict()
            encoder.model.load_state_dict(
                {k: v for k, v in trained.state_dict().items() if k in own}
            )
            if (Path(folder) / WORD_WEIGHTS).is_file():
                kept = json.loads((Path(folder) / WORD_WEIGHTS).read_text(encoding="utf-8"))
                rest = float(kept.get("unknown_word_weight", 1))
                every = [float(kept["word_weights"].get(name, rest)) for name in kept["vocab"]]
                weights = torch.tensor(every)
                encoder.log_weights.load_state_dict({"weight": weights[:, None].log()})
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NearfarError(
                f"encoder={folder!r} could not be loaded: {reason} Wanted 'transformer', 'bag', or "
                "a folder with a text model's config.json and model.safetensors."
            ) from error
        return encoder

    @property
    def words(self) -> Tensor:
        """(vocabulary, dim) vectors of the subwords, which an output layer may share."""
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    def forward(self, x: Tensor) -> Tensor:
        inside, every, pooled = x != self.pad, [], []
        for rows, wide in self.parts(x):
            part = x[rows, :wide]
            weights = self.log_weights(part).exp() * inside[rows, :wide, None]
            total = (self.hidden(part) * weights).sum(1)
            pooled.append(total / weights.sum(1).clamp_min(1e-9))
            every.append(rows)
        if not pooled:
            return self.words.new_zeros(0, self.dim)
        return torch.cat(pooled)[torch.cat(every).argsort()]

    def parts(self, x: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Rows of (N, L) subwords that go through together, longest first, and their width."""
        lengths = (x != self.pad).sum(1)
        order = lengths.argsort(descending=True)
        sizes, begin = lengths[order].clamp_min(1).tolist(), 0
        while begin < len(sizes):
            count = max(1, _AT_ONCE // sizes[begin])
            yield order[begin : begin + count], sizes[begin]
            begin += count

    def hidden(self, x: Tensor) -> Tensor:
        """(N, L) subwords to (N, L, dim): each position's last hidden state."""
        inside = x != self.pad
        # A sentence without any subword attends to its padding, not to nothing.
        inside = torch.cat([inside[:, :1] | ~inside.any(1, keepdim=True), inside[:, 1:]], 1)
        out: Tensor = self.model(input_ids=x, attention_mask=inside.long()).last_hidden_state
        return out


def small_config(
    vocabulary: int, width: int = 256, layers: int = 2, heads: int = 4, longest: int = 128
) -> dict[str, Any]:
    """The configuration of a small Transformer to train from nothing.

    Norms come before attention and network (Xiong et al. 2020, arXiv 2002.04745), so that a
    subword's own vector runs through to the output: before training the mean over the output is
    close to a bag of subwords.

    Args:
        vocabulary: Subwords.
        width: Numbers of a position, and of the embedding.
        layers: Blocks of attention and network.
        heads: Of each attention.
        longest: Subwords of the longest sentence, or pair of sentences.
    """
    return {
        "model_type": "roberta-prelayernorm",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "max_position_embeddings": longest + 1,
        "type_vocab_size": 1,
        "pad_token_id": 0,
    }
