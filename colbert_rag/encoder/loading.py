"""Checkpoints from the hub or a folder, refused where they are no late-interaction model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colbert_rag.encoder.batching import is_out_of_memory
from colbert_rag.encoder.jina import family_of
from colbert_rag.encoder.query_weighting import SETTINGS, add_weighting
from colbert_rag.errors import ColbertRagError, ModelNotFoundError, ModelUnsupportedError
from colbert_rag.types import JsonValue

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Transformer

__all__ = [
    "Checkpoint",
    "explained",
    "is_delta",
    "is_late_interaction",
    "load_checkpoint",
    "located",
    "read_json",
    "read_modules",
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
        ModelUnsupportedError: the model is not a trained late-interaction text model, lacks weights, has files
            that do not fit together, or needs code that it is not trusted to run.
    """
    if not is_late_interaction(checkpoint):
        raise ModelUnsupportedError(
            f"{checkpoint.name} is no late-interaction model: it brings no trained projection of token vectors, and "
            f"a random one would be put in its place. Name a ColBERT checkpoint, for example "
            f"lightonai/GTE-ModernColBERT-v1, or fit a projection to your own texts: "
            f"Encoder.adapt({checkpoint.name!r}, texts, 'folder')."
        )
    with explained(checkpoint), without_progress_bars():
        is_jina = family_of(read_json(checkpoint, "config.json") or {}) is not None
        model = _encoder_class(is_jina)(
            checkpoint.name,
            device=device,
            trust_remote_code=checkpoint.trust_remote_code and not is_jina,
            revision=checkpoint.revision,
            local_files_only=checkpoint.local_files_only,
            token=checkpoint.token,
        )
        _check_widths(model, checkpoint.name)
        add_weighting(model, read_json(checkpoint, SETTINGS) or {}, checkpoint.name)
    return model


@contextmanager
def explained(checkpoint: Checkpoint, hint: str = "") -> Iterator[None]:
    """Name the checkpoint in whatever its files raise in the libraries that read them.

    Args:
        checkpoint: What is being loaded.
        hint: Said with the reason where a file cannot be read.

    Raises:
        ModelNotFoundError: a file could not be read or fetched.
        ModelUnsupportedError: for any other error than a lack of memory, which passes.
    """
    try:
        yield
    except ColbertRagError:
        raise
    except OSError as error:
        raise _not_found(checkpoint, f"{error}{hint}") from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ModelUnsupportedError(f"{checkpoint.name} cannot be loaded: {kind}{error}") from error


def located(name: str) -> str:
    """A folder or a delta of that name as an absolute path, as an index is opened again from other working directories.

    Any other name comes back as it is: it is one of the hub.
    """
    # not Path.expanduser, which raises where there is no such user
    folder = Path(os.path.expanduser(name))  # noqa: PTH111
    return str(folder.resolve()) if folder.is_dir() or (is_delta(name) and folder.is_file()) else name


def is_delta(name: str) -> bool:
    """Whether a name is that of a delta's file, and not of a folder or a model on the hub."""
    return name.endswith(".safetensors")


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
    if is_jina:
        from colbert_rag.encoder.jina.model import JinaEncoder

        return JinaEncoder
    from colbert_rag.encoder.complete import CompleteEncoder

    return CompleteEncoder


def _check_widths(model: MultiVectorEncoder, name: str) -> None:
    from sentence_transformers.base.modules import Dense

    width = text_transformer(model).get_embedding_dimension()
    for position, module in enumerate(model):
        if not isinstance(module, Dense):
            continue
        if module.in_features != width:
            raise ModelUnsupportedError(
                f"{name}: module {position} projects vectors of {module.in_features} dimensions, but gets vectors of "
                f"{width}. Its weights and those before it are not of one model: fetch the checkpoint again."
            )
        width = module.out_features


def is_late_interaction(checkpoint: Checkpoint) -> bool:
    """Repeat sentence-transformers' choice of loader: only some of them bring a trained projection."""
    config, modules = read_json(checkpoint, "config.json"), read_modules(checkpoint)
    if config is None and modules is None:
        raise _not_found(checkpoint, "neither config.json nor modules.json is there")
    settings = read_json(checkpoint, SETTINGS) or {}
    is_stanford = "HF_ColBERT" in ((config or {}).get("architectures") or [])
    if modules is None:
        return is_stanford
    if "model_type" in settings:
        return settings["model_type"] in ("MultiVectorEncoder", "ColBERT")
    has_projection = any(str(module["type"]).endswith("Dense") for module in modules)
    return is_stanford or (has_projection and not PYLATE_SETTINGS.isdisjoint(settings))


def read_json(checkpoint: Checkpoint, filename: str) -> dict[str, JsonValue] | None:
    """What one file of a checkpoint says; None where there is no such file.

    Raises:
        ModelNotFoundError: it could not be fetched.
        ModelUnsupportedError: it is no JSON object.
    """
    content = _read(checkpoint, filename)
    if content is not None and not isinstance(content, dict):
        raise ModelUnsupportedError(
            f"{checkpoint.name}: {filename} holds a {type(content).__name__}; expected an object. Fetch it again."
        )
    return content


def read_modules(checkpoint: Checkpoint) -> list[dict[str, JsonValue]] | None:
    """The modules that modules.json lists, each with a type and a path; None where there is no such file.

    Raises:
        ModelNotFoundError: it could not be fetched.
        ModelUnsupportedError: it is no JSON, or no list of modules.
    """
    content = _read(checkpoint, "modules.json")
    if content is None:
        return None
    if not isinstance(content, list) or not content or not all(map(_is_module, content)):
        raise ModelUnsupportedError(
            f"{checkpoint.name}: modules.json is no list of modules with a type and a path each. Fetch it again."
        )
    return content


def _is_module(entry: JsonValue) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in ("type", "path"))


def _read(checkpoint: Checkpoint, filename: str) -> JsonValue:
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
    # JSONDecodeError and UnicodeDecodeError
    except ValueError as error:
        raise ModelUnsupportedError(f"{checkpoint.name}: {filename} is no JSON: {error}") from error
    except OSError as error:
        raise _not_found(checkpoint, str(error)) from error


def _not_found(checkpoint: Checkpoint, reason: str) -> ModelNotFoundError:
    where = f"revision {checkpoint.revision} of " if checkpoint.revision else ""
    return ModelNotFoundError(
        f"No model could be read from {where}{checkpoint.name!r}: {reason}. Check the spelling of the hub name or "
        f"folder; without internet access, name a local folder or fill the hub's cache beforehand; a private model "
        f"needs token=."
    )
