"""Any vision model of Hugging Face as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from nearfar.encoders._encoder import Encoder
from nearfar.encoders._mistyped import refuse_mistyped
from nearfar.errors import NearfarError


class HuggingFace(Encoder):
    """A vision backbone built from its Hugging Face configuration.

    Args:
        config: The model's configuration as plain JSON (``model_type`` names the architecture).

    Shapes:
        (N, channels, H, W) -> (N, dim): the pooled output where the model has one, otherwise the
        mean over positions of the last hidden state.

    Raises:
        ValueError: A model that takes no pictures, or does not say how many numbers come out.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        kind = config["model_type"]
        rest = {key: value for key, value in config.items() if key != "model_type"}
        self.settings = {"config": config}
        self.model = AutoModel.from_config(  # type: ignore[no-untyped-call]
            AutoConfig.for_model(kind, **rest)
        )
        if self.model.main_input_name != "pixel_values":
            raise ValueError(f"a {kind} model takes no pictures.")
        self.dim = _width(self.model.config)

    @classmethod
    def load(cls, name: str, *, weights: bool, known: Sequence[str] = ("resnet",)) -> HuggingFace:
        """Build from a model's name on the hub or from a local folder.

        Args:
            name: ``microsoft/resnet-18``, or a folder with ``config.json``.
            weights: Start from the trained weights; otherwise only the architecture is taken.
            known: What else the user may have meant: names of built-in encoders.

        Raises:
            NearfarError: There is no such model, or it cannot be reached.
        """
        from transformers import AutoConfig, AutoModel

        try:
            refuse_mistyped(name, known)
            encoder = cls(AutoConfig.from_pretrained(name).to_dict())
            if weights:
                encoder.model.load_state_dict(AutoModel.from_pretrained(name).state_dict())
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise NearfarError(
                f"encoder={name!r} could not be loaded: {reason} Wanted: "
                f"{', '.join(map(repr, known))}, the name of a vision model on the Hugging Face "
                "hub, or a folder that holds its config.json (and model.safetensors for its "
                "weights); the recipe images takes a run folder, too."
            ) from error
        return encoder

    def forward(self, x: Tensor) -> Tensor:
        out = self.model(pixel_values=x)
        pooled: Tensor | None = getattr(out, "pooler_output", None)
        if pooled is not None:
            return pooled.flatten(1)
        hidden: Tensor = out.last_hidden_state
        return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


def _width(config: Any) -> int:
    sizes = getattr(config, "hidden_sizes", None) or [getattr(config, "hidden_size", None)]
    if sizes[-1] is None:
        raise ValueError(f"a {config.model_type} model does not say how wide its output is.")
    return int(sizes[-1])
