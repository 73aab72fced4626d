"""A document as the catalog's rows keep it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colbert_rag.errors import CorruptIndexError
from colbert_rag.types import Document

__all__ = ["CONTENT_COLUMNS", "StoredDocument", "content_checksum", "content_of", "document_of", "json_text"]

CONTENT_COLUMNS = "d.key, d.id, d.ref_id, c.heading, c.text, c.metadata, c.extra"
"""Of ``documents d JOIN content c``: the key, and what :func:`document_of` takes."""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document's row of ``documents``."""

    key: int
    id: str
    n_tokens: int


def json_text(value: Any) -> str:
    """JSON as the catalog stores it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dict)


def content_of(document: Document) -> tuple[str, str, str, str | None]:
    """Heading, text, metadata and extra as they are stored; equal for equal documents."""
    extra = None if document.extra is None else json_text(document.extra)
    return document.heading, document.text, json_text(document.metadata), extra


def content_checksum(document_id: str, ref_id: str | None, *content: str | None) -> int:
    """CRC-32 over what a user stored, kept beside it so that ``verify`` finds a changed byte."""
    value = 0
    for part in (document_id, ref_id, *content):
        # absent and empty differ, and so do "a", "b" and "ab", ""
        value = zlib.crc32(b"\1" if part is None else b"\0" + part.encode(), value)
    return value


def document_of(
    document_id: str, ref_id: str | None, heading: str, text: str, metadata: str, extra: str | None
) -> Document:
    """A document from its columns.

    Raises:
        CorruptIndexError: metadata or extra is not JSON.
    """
    try:
        parsed = json.loads(metadata)
        beside = None if extra is None else json.loads(extra)
    except ValueError as err:
        msg = f"document {document_id!r}: the stored metadata is not JSON ({err}). Restore the index from a backup."
        raise CorruptIndexError(msg) from err
    if not isinstance(parsed, Mapping):
        msg = f"document {document_id!r}: the stored metadata is no object. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return Document(document_id, text, parsed, heading=heading, ref_id=ref_id, extra=beside)
