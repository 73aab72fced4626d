"""A document as the catalog's rows keep it."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from colbert_rag.errors import CorruptIndexError
from colbert_rag.types import Document, JsonValue

__all__ = [
    "CONTENT_COLUMNS",
    "MOST_LEVELS",
    "StoredDocument",
    "content_checksum",
    "content_of",
    "document_of",
    "json_text",
    "keys_checksum",
    "row_checksum",
]

MOST_LEVELS = 32
"""Of lists and objects in each other, in metadata and extra."""

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


def content_checksum(key: int, document_id: str, ref_id: str | None, *content: str | None) -> int:
    """CRC-32 over a key and what a user stored under it: compared whenever a document is read."""
    return row_checksum(key, document_id, ref_id, *content)


def row_checksum(*columns: object) -> int:
    """CRC-32 over columns as SQLite gives them: their types, lengths and bytes, in their order."""
    # every hit of every search comes by here: one CRC over all, and text first
    parts: list[bytes] = []
    for column in columns:
        if isinstance(column, str):
            # what is no UTF-8 in a damaged row is read as lone surrogates
            raw = column.encode("utf-8", "surrogateescape")
            parts += (b"t%d:" % len(raw), raw)
        elif column is None:
            parts.append(b"n4:None")
        else:
            kind, raw = (b"b", column) if isinstance(column, bytes) else (b"i", str(column).encode())
            parts += (b"%b%d:" % (kind, len(raw)), raw)
    return zlib.crc32(b"".join(parts))


def keys_checksum(keys: Iterable[int]) -> int:
    """CRC-32 over rising keys, each as eight bytes, little-endian."""
    return zlib.crc32(np.fromiter(keys, "<i8").tobytes())


def document_of(
    document_id: str, ref_id: str | None, heading: str, text: str, metadata: str, extra: str | None
) -> Document:
    """A document from its columns.

    Raises:
        CorruptIndexError: a column is no text, or metadata or extra is not the JSON that we write.
    """
    optional = ("" if column is None else column for column in (ref_id, extra))
    columns = (document_id, heading, text, metadata, *optional)
    if {*map(type, columns)} != {str}:
        kinds = ", ".join(type(column).__name__ for column in columns)
        msg = f"document {document_id!r:.80}: expected columns of text, found {kinds}. Restore the index from a backup."
        raise CorruptIndexError(msg)
    try:
        parsed = _parsed(metadata)
        beside = None if extra is None else _parsed(extra)
    except (ValueError, RecursionError) as err:
        msg = f"document {document_id!r}: the stored metadata is not JSON ({err}). Restore the index from a backup."
        raise CorruptIndexError(msg) from err
    if not isinstance(parsed, Mapping):
        msg = f"document {document_id!r}: the stored metadata is no object. Restore the index from a backup."
        raise CorruptIndexError(msg)
    return Document(document_id, text, parsed, heading=heading, ref_id=ref_id, extra=beside)


def _parsed(text: str) -> JsonValue:
    """The value of a JSON text, as deep and as clean as what is let in: whoever walks it relies on that."""
    if text == "{}":
        return {}
    value = _DECODER.decode(text)
    if text.count("[") + text.count("{") > MOST_LEVELS and _is_deep(value):
        msg = f"nested deeper than {MOST_LEVELS} levels"
        raise ValueError(msg)
    if "\\u" in text:
        # escapes can spell half a character, which no text of SQLite's can hold
        json_text(value).encode()
    return value


def _is_deep(value: JsonValue) -> bool:
    level = [value]
    for _ in range(MOST_LEVELS):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [item for items in inner for item in items]
    return any(isinstance(item, dict | list) for item in level)


def _refuse_constant(name: str) -> NoReturn:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _finite(digits: str) -> float:
    number = float(digits)
    return _refuse_constant(digits) if math.isinf(number) else number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
