"""JSON Lines and CSV: one document a record."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colbert_rag.errors import CorpusFormatError
from colbert_rag.readers.decoding import read_lines
from colbert_rag.types import Document

__all__ = ["read_csv", "read_json_lines", "read_jsonl"]

_ID_FIELDS = ("id", "_id")


def read_jsonl(path: Path) -> Iterator[Document]:
    """Stream the documents of a ``.jsonl`` or ``.jsonl.gz`` file.

    A record has ``id`` (or ``_id``) and ``text``. A ``title`` is put before the text, on a line of its own. The
    object ``metadata`` and all other fields become the document's metadata.

    Raises:
        CorpusFormatError: a record is not such an object; the message names file and line.
    """
    for number, record in read_json_lines(path):
        yield _document(record, f"{path}:{number}")


def read_csv(path: Path) -> Iterator[Document]:
    """Stream the documents of a CSV file with a header that names ``id`` (or ``_id``) and ``text``.

    A ``title`` is put before the text, on a line of its own; the other columns become metadata, as strings.

    Raises:
        CorpusFormatError: the header lacks a column, or a row has another number of fields than the header.
    """
    rows = csv.reader((line for _, line in read_lines(path)), strict=True)
    try:
        header = next(rows, [])
        _check_header(header, path)
        for row in rows:
            if row:
                where = f"{path}:{rows.line_num}"
                yield _document(_record(header, row, where), where)
    except csv.Error as error:
        raise CorpusFormatError(f"{path}:{rows.line_num}: no valid CSV: {error}") from error


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the JSON objects of a file with their line numbers; empty lines are no records.

    Raises:
        CorpusFormatError: a line is not one JSON object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusFormatError(_no_json(line, error, f"{path}:{number}")) from error
        if not isinstance(record, dict):
            raise CorpusFormatError(f"{path}:{number}: expected a JSON object, found {type(record).__name__}")
        yield number, record


def _no_json(line: str, error: ValueError | RecursionError, where: str) -> str:
    reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return f"{where}: expected one JSON object a line: {reason}; found {line.strip()!r:.80}"


def _check_header(header: list[str], path: Path) -> None:
    missing = [name for name in ("text",) if name not in header]
    missing += [] if set(_ID_FIELDS) & set(header) else ["id"]
    if missing or len(set(header)) < len(header):
        problem = f"column {missing[0]!r} is missing" if missing else "a column name occurs twice"
        raise CorpusFormatError(f"{path}:1: {problem}; expected a header with id and text, found {header}")


def _record(header: list[str], row: list[str], where: str) -> dict[str, Any]:
    if len(row) != len(header):
        raise CorpusFormatError(f"{where}: expected {len(header)} fields as in the header, found {len(row)}")
    return dict(zip(header, row, strict=True))


def _document(record: dict[str, Any], where: str) -> Document:
    document_id = _take_id(record, where)
    text = _take_text(record, "text", where)
    title = _take_text(record, "title", where) if record.get("title") else record.pop("title", "")
    text = f"{title}\n{text}" if title else text
    if not text.strip():
        raise CorpusFormatError(f"{where}: the text of document {document_id!r} is blank; remove the record")
    return Document(document_id, text, _metadata(record, where))


def _take_id(record: dict[str, Any], where: str) -> str:
    names = [name for name in _ID_FIELDS if name in record]
    if len(names) != 1:
        raise CorpusFormatError(f"{where}: expected one field 'id' or '_id', found {names or list(record)[:8]}")
    value = record.pop(names[0])
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise CorpusFormatError(f"{where}: expected a string or an integer as {names[0]!r}, found {value!r:.80}")
    return str(value)


def _take_text(record: dict[str, Any], name: str, where: str) -> str:
    if name not in record:
        raise CorpusFormatError(f"{where}: field {name!r} is missing; found {list(record)[:8]}")
    value = record.pop(name)
    if not isinstance(value, str):
        raise CorpusFormatError(f"{where}: expected a string as {name!r}, found {type(value).__name__}")
    return value


def _metadata(record: dict[str, Any], where: str) -> dict[str, Any]:
    metadata = record.pop("metadata", None) or {}
    if not isinstance(metadata, dict):
        return {"metadata": metadata, **record}
    if twice := sorted(metadata.keys() & record.keys()):
        raise CorpusFormatError(f"{where}: {twice[0]!r} is given both beside and inside 'metadata'; keep one")
    return {**record, **metadata}
