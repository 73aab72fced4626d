"""The rows of the catalog against their checksums, against each other and against the vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError
from colbert_rag.filters import attributes
from colbert_rag.search import open_snapshot
from colbert_rag.storage import CatalogState, Reading
from colbert_rag.storage.rows import content_checksum, document_of
from colbert_rag.verifying.pinning import PinnedFiles

__all__ = [
    "attribute_problems",
    "check_numbers",
    "document_problems",
    "key_problems",
    "pair_problems",
    "size_problems",
]

_MOST_NAMED = 5
_TEXT_BYTES = "length(CAST(c.heading AS BLOB)) + length(CAST(c.text AS BLOB))"


def pair_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Whether every document has its two rows."""
    for table, other in (("content", "documents"), ("documents", "content")):
        sql = f"SELECT key FROM {table} WHERE key NOT IN (SELECT key FROM {other}) LIMIT {_MOST_NAMED}"
        yield from (f"key {key} is in {table} but not in {other}" for (key,) in connection.execute(sql))


def size_problems(connection: sqlite3.Connection) -> Iterator[str]:
    """Whether the sizes that are counted are those of the texts."""
    sql = f"SELECT d.id FROM documents d JOIN content c ON c.key = d.key WHERE d.text_bytes IS NOT {_TEXT_BYTES}"
    for (document_id,) in connection.execute(f"{sql} LIMIT {_MOST_NAMED}"):
        yield f"document {document_id!r}: its text has another size than was committed"


def document_problems(reading: Reading) -> Iterator[str]:
    """Whether every document is what a user stored."""
    for checksum, key, document_id, ref_id, *content in reading.content_rows():
        if content_checksum(key, document_id, ref_id, *content) != checksum:
            yield f"document {document_id!r}: what is stored differs from what was committed (crc32)"
            continue
        try:
            document_of(document_id, ref_id, *content)
        except CorruptIndexError as err:
            yield str(err)


def attribute_problems(reading: Reading) -> Iterator[str]:
    """Whether filters see what the metadata says."""
    n_expected = 0
    for key, document in reading.all_documents():
        expected = attributes(document.metadata)
        n_expected += len(expected)
        if not reading.has_attributes(key, expected):
            yield f"document {document.id!r}: what it is filtered by is not what its metadata says"
    n_stored = reading.count_attributes()
    if n_stored > n_expected:
        yield f"{n_stored - n_expected:,} attributes to filter by belong to no document's metadata"


def check_numbers(root: Path, state: CatalogState, named: Callable[[], Collection[str]]) -> None:
    """Refuse vectors that a search would refuse, but for those that a merge has removed meanwhile.

    Args:
        root: The folder.
        state: A commit.
        named: Gives the folders that the newest commit names.

    Raises:
        CorruptIndexError: numbers out of range, or two segments with vectors of one document.
    """
    try:
        open_snapshot(root, state, [], None)
    except CorruptIndexError:
        newest = named()
        standing = tuple(segment for segment in state.segments if segment.name in newest)
        if len(standing) == len(state.segments):
            raise
        if standing:
            check_numbers(root, state.model_copy(update={"segments": standing}), named)


def key_problems(state: CatalogState, pinned: PinnedFiles, reading: Reading) -> Iterator[str]:
    """Whether documents, tombstones and vectors are of the same keys, and none of a key that is still to be given."""
    empty = np.zeros(0, np.int64)
    held = np.concatenate([empty, *(pinned.int64(s.name, s.files["doc_keys"]) for s in state.segments)])
    lengths = np.concatenate([empty, *(np.diff(pinned.int64(s.name, s.files["doc_offsets"])) for s in state.segments)])
    order = held.argsort()
    held, lengths = held[order], lengths[order]
    rows = reading.connection.execute("SELECT key, n_tokens FROM documents ORDER BY key")
    keys, n_tokens = np.array(rows.fetchall(), np.int64).reshape(-1, 2).T
    deleted = np.array(reading.tombstones(), np.int64)
    yield from _named(deleted[~np.isin(deleted, held)], "is deleted, but has no vectors to leave out")
    yield from _named(deleted[np.isin(deleted, keys)], "is deleted, but still a document")
    yield from _named(held[~np.isin(held, np.concatenate([keys, deleted]))], "has vectors but no record")
    places = np.minimum(held.searchsorted(keys), max(0, len(held) - 1))
    has_vectors = held[places] == keys if len(held) else np.zeros(len(keys), np.bool_)
    has_all = has_vectors & (lengths[places] == n_tokens) if len(held) else has_vectors
    for key, count in zip(keys[~has_all].tolist(), n_tokens[~has_all].tolist(), strict=True):
        name = next(iter(reading.ids_of([key]).values()), key)
        yield f"document {name!r}: its vectors are missing or are not {count:,} tokens"
    (next_key,) = reading.connection.execute("SELECT next_key FROM state").fetchone()
    last = max(keys.max(initial=0), deleted.max(initial=0))
    if next_key <= last:
        yield f"the next key is {next_key:,}, but {last:,} is taken"


def _named(keys: NDArray[np.int64], what: str) -> Iterator[str]:
    yield from (f"key {key} {what}" for key in keys[:_MOST_NAMED].tolist())
    if len(keys) > _MOST_NAMED:
        yield f"{len(keys) - _MOST_NAMED:,} more keys of which each {what}"
