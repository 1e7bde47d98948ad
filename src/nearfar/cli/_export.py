"""A sentence encoder in the layout of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

from nearfar.encoders import TextTransformer
from nearfar.encoders._sentence import WORD_WEIGHTS
from nearfar.errors import NearfarError
from nearfar.files import replace_text
from nearfar.model import Model
from nearfar.pairs.translation import SentenceReader


def to_sentence_transformers(model: Model, folder: str | Path) -> None:
    """Write a text model, its tokenizer, and how its states become one vector.

    Weights of subwords, the mean over positions, then length one: what `Model.embed` does.
    transformers alone opens the model and the tokenizer too.

    Args:
        model: With a `TextTransformer`.
        folder: Made if needed.

    Raises:
        NearfarError: Another kind of model.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    reader, encoder, folder = model.reader, model.encoder, Path(folder)
    if not isinstance(encoder, TextTransformer) or not isinstance(reader, SentenceReader):
        raise NearfarError(
            f"A {type(encoder).__name__} behind a {type(reader).__name__} has no counterpart in "
            "sentence-transformers; wanted a run of `nearfar train translation` with --encoder "
            "transformer, or a checkpoint's folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    encoder.model.save_pretrained(folder)
    longest = reader.settings["longest"]
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(reader.settings["tokenizer"]),
        pad_token=reader.tokenizer.id_to_token(reader.pad),
        model_max_length=longest,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    room = "sentence_transformers.models"
    modules = [
        ("", "Transformer"),
        (str(Path(WORD_WEIGHTS).parent), "WordWeights"),
        ("2_Pooling", "Pooling"),
        ("3_Normalize", "Normalize"),
    ]
    _json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"{room}.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    _json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    weights = encoder.log_weights.weight.detach().exp().flatten().tolist()
    names = [reader.tokenizer.id_to_token(number) for number in range(len(weights))]
    # A model may have more rows than its tokenizer has subwords; a name must not be there twice.
    names = [f"[unused row {row}]" if name is None else name for row, name in enumerate(names)]
    _json(
        folder / WORD_WEIGHTS,
        {"vocab": names, "word_weights": dict(zip(names, weights, strict=True))},
    )
    _json(
        folder / "2_Pooling" / "config.json",
        {"word_embedding_dimension": encoder.dim, "pooling_mode_mean_tokens": True},
    )
    _json(folder / "3_Normalize" / "config.json", {})
    _json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _json(path: Path, content: object) -> None:
    replace_text(path, json.dumps(content, indent=2) + "\n")
