"""What a model's name stands for: the built-in model, a checkpoint, or the delta of another model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from colbert_rag.encoder.builtin import BUILTIN, CURRENT, load_builtin
from colbert_rag.encoder.loading import Checkpoint, is_delta, load_checkpoint, located, set_query_length
from colbert_rag.encoder.settings import EncoderSettings
from colbert_rag.errors import ModelUnsupportedError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder

__all__ = ["load_named", "named_or_live"]


def named_or_live(
    model: str | os.PathLike[str] | MultiVectorEncoder | None, settings: EncoderSettings
) -> tuple[str | None, MultiVectorEncoder | None]:
    """The name by which the model can be loaded again, or else the loaded model."""
    if model is None:
        return BUILTIN, None
    if isinstance(model, str | os.PathLike):
        name = os.fspath(model)
        return (name if name == BUILTIN else located(name)), None
    from sentence_transformers import MultiVectorEncoder

    if not isinstance(model, MultiVectorEncoder):
        raise ModelUnsupportedError(
            f"model is a {type(model).__name__}; expected a hub name, a folder, or a MultiVectorEncoder."
        )
    if settings.query_length is not None:
        raise ModelUnsupportedError(
            "query_length would change the MultiVectorEncoder that was passed: set query_expansion on its first "
            "module instead."
        )
    return None, model


def load_named(name: str, settings: EncoderSettings, token: str | bool | None) -> MultiVectorEncoder:
    """Load the model of a name, set as the settings say.

    Raises:
        ModelNotFoundError: the model, or the base of a delta, cannot be found.
        ModelUnsupportedError: it is no late-interaction model, or is a delta and the settings are of the hub.
    """
    if name == BUILTIN:
        model = load_builtin(
            settings.device, revision=settings.revision or CURRENT, local_files_only=settings.local_files_only
        )
    elif is_delta(name):
        model = _load_delta(name, settings, token)
    else:
        checkpoint = Checkpoint(name, settings.revision, settings.trust_remote_code, settings.local_files_only, token)
        model = load_checkpoint(checkpoint, settings.device)
    if settings.query_length is not None:
        set_query_length(model, settings.query_length)
    return model


def _load_delta(name: str, settings: EncoderSettings, token: str | bool | None) -> MultiVectorEncoder:
    # a delta's base is loaded as adapting does, which encodes with an Encoder
    from colbert_rag.encoder.delta import load_delta

    if settings.revision is not None or settings.trust_remote_code or token:
        raise ModelUnsupportedError(
            f"{name} is a delta, whose base is the one that it names: revision, trust_remote_code and token have no "
            f"meaning for it. Leave them out; a base that needs them is loaded as a model of its own first."
        )
    return load_delta(name, settings.device, local_files_only=settings.local_files_only)
