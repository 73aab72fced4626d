"""Which model an index was built with, and how it is found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from colbert_rag.errors import ModelMismatchError
from colbert_rag.types import JsonValue, TextEncoder

__all__ = ["NO_MODEL", "check_same_model", "encoder_for", "model_record"]

NO_MODEL: dict[str, JsonValue] = {"model": None}
"""What an index that takes vectors only remembers."""

_ENCODER_PARTS = ("dim", "fingerprint", "encode_documents", "encode_queries")


def encoder_for(encoder: object | None, record: Mapping[str, JsonValue] | None = None) -> TextEncoder:
    """An encoder from what a user passed, or from what an index remembers.

    Args:
        encoder: An encoder, a model's name or path, or None.
        record: A fingerprint; used when ``encoder`` is None.

    Raises:
        ModelNotFoundError: there is no such model here.
        ModelMismatchError: ``encoder`` is not an encoder.
    """
    if encoder is not None and not isinstance(encoder, str):
        # isinstance() with the protocol would read the properties, and so load the model
        if all(hasattr(type(encoder), name) for name in _ENCODER_PARTS):
            return cast("TextEncoder", encoder)
        msg = (
            f"encoder must be a colbert_rag.Encoder, a model name, or an object with dim, fingerprint, "
            f"encode_documents and encode_queries; found {type(encoder).__name__}."
        )
        raise ModelMismatchError(msg)
    from colbert_rag.encoder import Encoder

    if encoder is None and record is not None:
        return Encoder.from_fingerprint(record)
    return Encoder(encoder)


def model_record(encoder: TextEncoder | None) -> dict[str, JsonValue]:
    """What an index remembers of its encoder."""
    return dict(NO_MODEL) if encoder is None else dict(encoder.fingerprint)


def check_same_model(folder: Path, stored: Mapping[str, JsonValue], encoder: TextEncoder) -> None:
    """Refuse an encoder whose vectors do not fit those in the index.

    Raises:
        ModelMismatchError: naming every field that differs, stored and given.
    """
    given: Mapping[str, Any] = encoder.fingerprint
    differing = [key for key in sorted({*stored, *given} - {"model", "revision"}) if stored.get(key) != given.get(key)]
    if differing:
        fields = "; ".join(f"{key}: index {stored.get(key)!r}, encoder {given.get(key)!r}" for key in differing)
        msg = (
            f"{folder}: the index was built with another model or other settings "
            f"(index: {stored.get('model')!r}, encoder: {given.get('model')!r}). {fields}. "
            "Open it with the model that it was built with, or index the documents again."
        )
        raise ModelMismatchError(msg)
