"""Models of Hugging Face that take waveforms, as encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._mistyped import refuse_mistyped
from nearfar.errors import NearfarError


class HuggingFaceSound(Encoder):
    """A speech or sound backbone on waveforms (wav2vec 2.0, HuBERT, WavLM and their like).

    Each waveform is brought to mean 0 and deviation 1, as their feature extractors do; that also
    takes its loudness away. Such models expect 16,000 samples a second.

    Args:
        config: The model's configuration as plain JSON (``model_type`` names the architecture).

    Shapes:
        (N, S) -> (N, dim): the mean over time of the last hidden state.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        rest = {key: value for key, value in config.items() if key != "model_type"}
        self.settings = {"config": config}
        self.model = AutoModel.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(config["model_type"], **rest)
        )
        self.dim = int(self.model.config.hidden_size)

    @classmethod
    def load(cls, name: str, *, weights: bool) -> HuggingFaceSound:
        """Build from a model's name on the hub or from a local folder.

        Args:
            name: ``facebook/wav2vec2-base``, or a folder with ``config.json``.
            weights: Start from the trained weights; otherwise only the architecture is taken.

        Raises:
            NearfarError: There is no such model, it cannot be reached, or takes no waveforms.
        """
        from transformers import AutoConfig, AutoModel

        try:
            refuse_mistyped(name, ["conv"])
            config = AutoConfig.from_pretrained(name)
            if not hasattr(config, "conv_kernel"):
                raise ValueError(f"a {config.model_type} model takes no waveforms.")
            encoder = cls(config.to_dict())
            if weights:
                encoder.model.load_state_dict(AutoModel.from_pretrained(name).state_dict())
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NearfarError(
                f"audio_encoder={name!r} could not be loaded: {reason} Wanted: 'conv', or a model "
                "on waveforms (wav2vec2, hubert, wavlm, ...): its name on the Hugging Face hub, or "
                "a folder that holds its config.json (and model.safetensors for its weights)."
            ) from error
        return encoder

    def forward(self, waves: Tensor) -> Tensor:
        x = waves - waves.mean(1, keepdim=True)
        x = x / torch.sqrt(x.square().mean(1, keepdim=True) + 1e-7)
        hidden: Tensor = self.model(input_values=x).last_hidden_state
        return hidden.mean(1)
