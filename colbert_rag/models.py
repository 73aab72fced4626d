"""Which model an index was built with, and how it is found again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from colbert_rag.errors import ColbertRagError, ModelMismatchError, ModelNotFoundError
from colbert_rag.types import JsonValue, TextEncoder

__all__ = [
    "NO_MODEL",
    "check_dim",
    "check_model_is_there",
    "check_same_model",
    "encoder_for",
    "is_elsewhere",
    "model_record",
]

NO_MODEL: dict[str, JsonValue] = {"model": None}
"""What an index that takes vectors only remembers."""

MOST_DIMENSIONS = 1024

# the longest path on Linux; names on the hub, of branches and of tags are much shorter
_LONGEST_NAME = 4_096

_PASS_IT = "Open the index with its encoder, or with the name of its model: Index.open(path, 'model')."

_ENCODER_PARTS = ("dim", "fingerprint", "encode_documents", "encode_queries")


def encoder_for(encoder: object | None, record: Mapping[str, JsonValue] | None = None) -> TextEncoder:
    """An encoder from what a user passed, or from what an index remembers.

    Args:
        encoder: An encoder, a model's name or path, or None.
        record: A fingerprint; used when ``encoder`` is None, or names the built-in model without a revision.

    Raises:
        ModelNotFoundError: there is no such model here.
        ModelMismatchError: ``encoder`` is not an encoder.
    """
    if encoder is not None and not isinstance(encoder, str | os.PathLike):
        # isinstance() with the protocol would read the properties, and so load the model
        own = getattr(encoder, "__dict__", {})
        missing = [name for name in _ENCODER_PARTS if not hasattr(type(encoder), name) and name not in own]
        if not missing:
            return cast("TextEncoder", encoder)
        msg = (
            f"encoder must be a colbert_rag.Encoder, a model name, or an object with dim, fingerprint, "
            f"encode_documents and encode_queries; found {type(encoder).__name__}, which lacks {', '.join(missing)}."
        )
        raise ModelMismatchError(msg)
    from colbert_rag.encoder import Encoder
    from colbert_rag.encoder.builtin import BUILTIN

    if encoder == BUILTIN and record is not None and record.get("model") == BUILTIN:
        encoder, record = None, {key: record.get(key) for key in ("model", "revision")}
    if encoder is not None or record is None:
        return Encoder(encoder)
    try:
        return Encoder.from_fingerprint(record)
    except ColbertRagError:
        raise
    except (OSError, ValueError) as err:
        # a record is untrusted input: its name may be one that no system looks for
        msg = (
            f"the index remembers its model as {str(record.get('model'))!r:.200}, which cannot be looked for: "
            f"{err!s:.200}. {_PASS_IT}"
        )
        raise ModelNotFoundError(msg) from err


def is_elsewhere(encoder: TextEncoder) -> bool:
    """Whether documents are encoded on another device than the processor; an encoder that does not say so is on it."""
    return str(getattr(encoder, "device", None) or "cpu").partition(":")[0] != "cpu"


def check_dim(encoder: TextEncoder) -> int:
    """The dimension of an encoder's vectors.

    Raises:
        ModelMismatchError: not an int from 1 to 1,024.
    """
    dim = encoder.dim
    if isinstance(dim, bool) or not isinstance(dim, int) or not 1 <= dim <= MOST_DIMENSIONS:
        msg = f"an index takes vectors of 1 to {MOST_DIMENSIONS:,} dimensions, the encoder's have {dim!r}."
        raise ModelMismatchError(msg)
    return dim


def model_record(encoder: TextEncoder | None) -> dict[str, JsonValue]:
    """What an index remembers of its encoder."""
    if encoder is None:
        return dict(NO_MODEL)
    try:
        # what is read back is what must compare equal: JSON has no tuples
        record: dict[str, JsonValue] = json.loads(json.dumps(dict(encoder.fingerprint), allow_nan=False))
    except (TypeError, ValueError) as err:
        msg = f"the encoder's fingerprint must be what JSON can hold: {err}."
        raise ModelMismatchError(msg) from err
    return record


def check_model_is_there(folder: Path, record: Mapping[str, JsonValue]) -> None:
    """Refuse to look for a model in a folder that is gone, or by a name that cannot be one.

    Raises:
        ModelNotFoundError: the index remembers its model by a folder, which is not there, or by a name or a revision
            that no model has.
    """
    for field in ("model", "revision"):
        _check_name(folder, field, record.get(field))
    place = Path(str(record.get("model")))
    try:
        # of a relative one too: a name that is too long is refused here, where the index is known
        is_gone = not place.exists() and place.is_absolute()
    except (OSError, ValueError) as err:
        msg = (
            f"{folder}: the index was built with the model in {str(place)!r:.200}, which cannot be looked for: "
            f"{err!s:.200}. {_PASS_IT}"
        )
        raise ModelNotFoundError(msg) from err
    if is_gone:
        msg = (
            f"{folder}: the index was built with the model in {place}, which is not there. If it was moved, name its "
            f"new place: Index.open(path, 'folder')."
        )
        raise ModelNotFoundError(msg)


def _check_name(folder: Path, field: str, name: JsonValue) -> None:
    if name is not None and (not isinstance(name, str) or len(name) > _LONGEST_NAME):
        found = f"{len(name):,} characters" if isinstance(name, str) else type(name).__name__
        msg = (
            f"{folder}: the index remembers the {field} that it was built with as {found}; expected a text of at most "
            f"{_LONGEST_NAME:,} characters. {_PASS_IT}"
        )
        raise ModelNotFoundError(msg)


def check_same_model(folder: Path, stored: Mapping[str, JsonValue], encoder: TextEncoder) -> None:
    """Refuse an encoder whose vectors do not fit those in the index.

    Raises:
        ModelMismatchError: naming every field that differs, stored and given.
    """
    given = model_record(encoder)
    differing = [key for key in sorted({*stored, *given} - {"model", "revision"}) if stored.get(key) != given.get(key)]
    if differing:
        fields = "; ".join(f"{key}: index {stored.get(key)!r}, encoder {given.get(key)!r}" for key in differing)
        msg = (
            f"{folder}: the index was built with another model or other settings "
            f"(index: {_name(stored)}, encoder: {_name(given)}). {fields}. "
            "Open it with the model that it was built with, or index the documents again."
        )
        raise ModelMismatchError(msg)


def _name(record: Mapping[str, JsonValue]) -> str:
    model, revision = record.get("model"), record.get("revision")
    return f"{model!r}" if revision is None else f"{model!r} of revision {revision!r}"
