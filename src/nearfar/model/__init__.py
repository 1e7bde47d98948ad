"""A model that can be handed over: a reader, an encoder, and a folder without pickles."""

from nearfar.model._describe import describe, rebuild
from nearfar.model._model import Embedding, Model, holds_model, load

__all__ = ["Embedding", "Model", "describe", "holds_model", "load", "rebuild"]
