"""Checkpoints from the hub or a folder, refused where they are no late-interaction model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder.jina import family_of
from colbert_rag.errors import ModelNotFoundError, ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer

__all__ = [
    "Checkpoint",
    "is_late_interaction",
    "load_checkpoint",
    "not_found",
    "read_json",
    "set_query_length",
    "text_transformer",
    "without_progress_bars",
]

# top-level settings that only PyLate wrote, before checkpoints named their model type
PYLATE_SETTINGS = frozenset({"query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens"})


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a model is found and what loading it may do.

    Attributes:
        name: A hub name or a folder.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Whether Python code that comes with the checkpoint may run.
        local_files_only: Whether the hub must not be asked.
        token: Access token for the hub.
    """

    name: str
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False
    token: str | bool | None = None


def load_checkpoint(checkpoint: Checkpoint, device: str | None) -> MultiVectorEncoder:
    """Load a late-interaction checkpoint of any format that sentence-transformers reads, and of Jina's.

    Jina's checkpoints name remote code; ours is used instead, whether or not remote code is trusted.

    Args:
        checkpoint: Which one.
        device: Where it runs; None for the best there is.

    Raises:
        ModelNotFoundError: there is no such model, or it could not be fetched.
        ModelUnsupportedError: the model is not a trained late-interaction text model, or needs code that
            it is not trusted to run.
    """
    from safetensors import SafetensorError

    if not is_late_interaction(checkpoint):
        raise ModelUnsupportedError(
            f"{checkpoint.name} is no late-interaction model: it brings no trained projection of token vectors, and "
            f"a random one would be put in its place. Name a ColBERT checkpoint, for example "
            f"lightonai/GTE-ModernColBERT-v1, or fit a projection to your own texts: "
            f"Encoder.adapt({checkpoint.name!r}, texts, 'folder')."
        )
    try:
        with without_progress_bars():
            is_jina = family_of(read_json(checkpoint, "config.json") or {}) is not None
            return _encoder_class(is_jina)(
                checkpoint.name,
                device=device,
                trust_remote_code=checkpoint.trust_remote_code and not is_jina,
                revision=checkpoint.revision,
                local_files_only=checkpoint.local_files_only,
                token=checkpoint.token,
            )
    except ModelUnsupportedError:
        raise
    except OSError as error:
        raise not_found(checkpoint, str(error)) from error
    except (ValueError, SafetensorError) as error:
        raise ModelUnsupportedError(f"{checkpoint.name} cannot be loaded: {error}") from error


def set_query_length(model: MultiVectorEncoder, length: int) -> None:
    """Set the width that queries are expanded to, or their usual length where they are not expanded.

    Raises:
        ModelUnsupportedError: the model does not start with a Transformer.
    """
    transformer = text_transformer(model)
    expansion = transformer.query_expansion
    if expansion is None:
        transformer.query_length = length
    else:
        transformer.query_length = None
        transformer.query_expansion = {**expansion, "length": length}


def text_transformer(model: MultiVectorEncoder) -> Transformer:
    """The first module of a model that reads text.

    Raises:
        ModelUnsupportedError: the model starts with another kind of module.
    """
    from sentence_transformers.base.modules import Transformer

    first: object = model[0]
    if not isinstance(first, Transformer):
        raise ModelUnsupportedError(
            f"The model starts with a {type(first).__name__} module; expected a Transformer over text."
        )
    transformer: Transformer = first
    return transformer


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each load of weights."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _encoder_class(is_jina: bool) -> type[MultiVectorEncoder]:
    from sentence_transformers import MultiVectorEncoder

    if not is_jina:
        return MultiVectorEncoder
    from colbert_rag.encoder.jina.model import JinaEncoder

    return JinaEncoder


def is_late_interaction(checkpoint: Checkpoint) -> bool:
    """Repeat sentence-transformers' choice of loader: only some of them bring a trained projection."""
    config, modules = read_json(checkpoint, "config.json"), read_json(checkpoint, "modules.json")
    if config is None and modules is None:
        raise not_found(checkpoint, "neither config.json nor modules.json is there")
    settings = read_json(checkpoint, "config_sentence_transformers.json") or {}
    is_stanford = "HF_ColBERT" in ((config or {}).get("architectures") or [])
    if modules is None:
        return is_stanford
    if "model_type" in settings:
        return settings["model_type"] in ("MultiVectorEncoder", "ColBERT")
    has_projection = any(str(module.get("type", "")).endswith("Dense") for module in modules)
    return is_stanford or (has_projection and not PYLATE_SETTINGS.isdisjoint(settings))


def read_json(checkpoint: Checkpoint, filename: str) -> JsonValue:
    """What one file of a checkpoint says; None where there is no such file.

    Raises:
        ModelNotFoundError: it could not be fetched.
        ModelUnsupportedError: it is no JSON.
    """
    from sentence_transformers.util import load_file_path

    try:
        path = load_file_path(
            checkpoint.name,
            filename,
            token=checkpoint.token,
            revision=checkpoint.revision,
            local_files_only=checkpoint.local_files_only,
        )
        return None if path is None else json.loads(Path(path).read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ModelUnsupportedError(f"{checkpoint.name}: {filename} is no JSON: {error}") from error
    except OSError as error:
        raise not_found(checkpoint, str(error)) from error


def not_found(checkpoint: Checkpoint, reason: str) -> ModelNotFoundError:
    """An error that says what to do where a checkpoint cannot be read."""
    where = f"revision {checkpoint.revision} of " if checkpoint.revision else ""
    return ModelNotFoundError(
        f"No model could be read from {where}{checkpoint.name!r}: {reason}. Check the spelling of the hub name or "
        f"folder; without internet access, name a local folder or fill the hub's cache beforehand; a private model "
        f"needs token=."
    )
