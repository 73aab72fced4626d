"""What an index holds, and whether it is what was committed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from colbert_rag.errors import ColbertRagError, CorruptIndexError
from colbert_rag.filters import attributes
from colbert_rag.search import open_snapshot
from colbert_rag.storage import Catalog, CatalogState, FileRecord, Reading, is_data_folder, sha256_of
from colbert_rag.storage.connection import CATALOG
from colbert_rag.storage.rows import content_checksum, document_of
from colbert_rag.storage.schema import FORMAT_VERSION
from colbert_rag.types import IndexInfo, Progress, VerifyReport

__all__ = ["index_info", "verify_index"]

_ATTEMPTS = 5


def index_info(root: Path, catalog: Catalog) -> IndexInfo:
    """Count documents, tokens and bytes."""
    with catalog.reading() as reading:
        state = catalog.state(reading)
        n_documents, n_tokens, text_bytes = reading.totals()
        n_deleted = len(reading.tombstones())
    vector_bytes = sum(record.size for _, record in _named_files(state))
    catalog_bytes = sum(path.stat().st_size for path in root.glob(CATALOG + "*"))
    overhead = vector_bytes + max(0, catalog_bytes - text_bytes)
    return IndexInfo(
        path=str(root),
        format_version=FORMAT_VERSION,
        n_documents=n_documents,
        n_tokens=n_tokens,
        n_deleted=n_deleted,
        n_segments=len(state.segments),
        dim=state.settings.dim,
        bits=state.settings.bits,
        pool_factor=state.settings.pool_factor,
        is_compressed=state.codec is not None,
        n_centroids=0 if state.codec is None else state.codec.n_centroids,
        codec_tokens=0 if state.codec is None else state.codec.trained_on,
        vector_bytes=vector_bytes,
        catalog_bytes=catalog_bytes,
        text_bytes=text_bytes,
        bytes_per_token=round(overhead / n_tokens, 2) if n_tokens else 0.0,
        model=state.settings.model,
    )


def _named_files(state: CatalogState) -> list[tuple[str, FileRecord]]:
    """Folder and record of every file that the catalog names."""
    named = [(segment.name, record) for segment in state.segments for record in segment.files.values()]
    if state.codec is not None:
        named += [(state.codec.name, record) for record in state.codec.files.values()]
    return named


def verify_index(root: Path, catalog: Catalog, progress: Progress) -> VerifyReport:
    """Compare every byte with what was committed, and every record with every other."""
    for _ in range(_ATTEMPTS):
        commits, report = _verify_commit(root, catalog, progress)
        with catalog.reading() as reading:
            # a writer that merged meanwhile has removed files of the commit that was looked at
            if report.ok or reading.commits() == commits:
                break
    return report


def _verify_commit(root: Path, catalog: Catalog, progress: Progress) -> tuple[int, VerifyReport]:
    with catalog.reading() as reading:
        state = catalog.state(reading)
        files = _named_files(state)
        total = sum(record.size for _, record in files)
        problems: list[str] = []
        done = 0
        for folder, record in files:
            problems.extend(_file_problems(root / folder / record.name, record))
            done += record.size
            progress("verify", done, total)
        problems.extend(_extra_files(root, state))
        problems.extend(f"{CATALOG}: {line}" for line in _database_problems(reading))
        problems.extend(f"{CATALOG}: {line}" for line in _content_problems(reading))
        if not problems:
            problems.extend(_cross_problems(root, state, reading))
            problems.extend(f"{CATALOG}: {line}" for line in _attribute_problems(reading))
        leftovers = tuple(sorted(_leftovers(root, state)))
        return state.commits, VerifyReport(tuple(problems), len(files), total, reading.count(), leftovers)


def _file_problems(path: Path, record: FileRecord) -> Iterator[str]:
    name = f"{path.parent.name}/{path.name}"
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            yield f"{name}: not a regular file"
        elif status.st_size != record.size:
            yield f"{name}: {status.st_size:,} bytes on disk, {record.size:,} committed"
        elif sha256_of(path) != record.sha256:
            yield f"{name}: content differs from what was committed (sha256)"
    except OSError as err:
        yield f"{name}: cannot be read ({err.strerror})"


def _extra_files(root: Path, state: CatalogState) -> Iterator[str]:
    named: dict[str, set[str]] = {}
    for folder, record in _named_files(state):
        named.setdefault(folder, set()).add(record.name)
    for path in sorted(root.iterdir()):
        if path.name in named and path.is_dir():
            yield from (
                f"{path.name}/{p.name}: not named by the catalog"
                for p in path.iterdir()
                if p.name not in named[path.name]
            )
        elif path.name not in named and not path.name.startswith(CATALOG) and not is_data_folder(path):
            yield f"{path.name}: not part of the index; remove it"


def _leftovers(root: Path, state: CatalogState) -> Iterator[str]:
    """Folders of a write that is under way, or that did not finish: the next writer removes those."""
    named = {folder for folder, _ in _named_files(state)}
    return (path.name for path in root.iterdir() if path.name not in named and is_data_folder(path))


def _database_problems(reading: Reading) -> Iterator[str]:
    for (line,) in reading.connection.execute("PRAGMA integrity_check(20)"):
        if line != "ok":
            yield line
    columns = [("content", "key"), ("documents", "key")]
    for (table, _), (other, _) in (columns, columns[::-1]):
        sql = f"SELECT key FROM {table} WHERE key NOT IN (SELECT key FROM {other}) LIMIT 5"
        yield from (f"key {key} is in {table} but not in {other}" for (key,) in reading.connection.execute(sql))


def _content_problems(reading: Reading) -> Iterator[str]:
    for checksum, _, document_id, ref_id, *content in reading.content_rows():
        if content_checksum(document_id, ref_id, *content) != checksum:
            yield f"document {document_id!r}: what is stored differs from what was committed (crc32)"
            continue
        try:
            document_of(document_id, ref_id, *content)
        except CorruptIndexError as err:
            yield str(err)


def _attribute_problems(reading: Reading) -> Iterator[str]:
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


def _cross_problems(root: Path, state: CatalogState, reading: Reading) -> Iterator[str]:
    """Whether documents and vectors are the same set."""
    try:
        snapshot = open_snapshot(root, state, reading.tombstones(), None)
    except ColbertRagError as err:
        yield str(err)
        return
    stored: dict[int, int] = {}
    for view in snapshot.views:
        counts = view.segment.doc_offsets[1:] - view.segment.doc_offsets[:-1]
        for n, (key, count) in enumerate(zip(view.segment.doc_keys.tolist(), counts.tolist(), strict=True)):
            if view.alive is None or view.alive[n]:
                if key in stored:
                    yield f"key {key} has vectors in two segments"
                stored[key] = count
    for key, document_id, n_tokens in reading.connection.execute("SELECT key, id, n_tokens FROM documents"):
        if stored.pop(key, None) != n_tokens:
            yield f"document {document_id!r}: its vectors are missing or are not {n_tokens:,} tokens"
    if stored:
        yield f"{len(stored):,} documents have vectors but no record"
