"""Segments: immutable folders of arrays that hold the token vectors of some documents."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbert_rag.errors import CorruptIndexError
from colbert_rag.storage.files import ArrayWriter, make_folder, sync_folder, write_array
from colbert_rag.storage.mapping import check_recorded, let_go, map_array
from colbert_rag.storage.records import FileRecord, SegmentRecord
from colbert_rag.storage.spans import pack_spans, unpack_spans

__all__ = ["Segment", "SegmentWriter", "TokenColumns", "fresh_name", "is_data_folder"]

# rows that are checked at once: 8 MB of int64
_BLOCK_ROWS = 1 << 20
# of 1.0625, which is more than the length of any vector that is let in
_LARGEST_BITS = 0x3C40

TokenColumns = Mapping[str, NDArray[Any]]
"""Arrays with one row per token: ``vectors``, or ``centroid_ids``, ``codes`` and ``factors``."""


def fresh_name(kind: str) -> str:
    """A folder name that was never used."""
    return f"{kind}-{secrets.token_hex(8)}"


def is_data_folder(path: Path) -> bool:
    """Whether a path looks like a folder that :func:`fresh_name` named."""
    return path.name.startswith(("segment-", "codec-")) and path.is_dir() and not path.is_symlink()


class SegmentWriter:
    """Writes a segment piece by piece; memory does not grow with its size.

    Args:
        root: The index folder.
        codec: Name of the codec that packed the tokens, None for plain vectors.
    """

    def __init__(self, root: Path, codec: str | None) -> None:
        self.name = fresh_name("segment")
        self._codec = codec
        self._folder = root / self.name
        make_folder(self._folder)
        self._writers: dict[str, ArrayWriter] = {}
        self._n_escapes = 0
        self.n_documents = 0
        self.n_tokens = 0
        self._append("doc_offsets", np.zeros(1, np.int64))

    def append(self, keys: Sequence[int], spans: Sequence[NDArray[np.int32]], columns: TokenColumns) -> None:
        """Append documents.

        Args:
            keys: Rising document keys.
            spans: ``(T_i, 2) int32`` for each document.
            columns: Arrays of the documents' tokens, packed one after another.
        """
        counts = np.array([len(span) for span in spans], np.int64)
        self._append("doc_keys", np.asarray(keys, np.int64))
        self._append("doc_offsets", self.n_tokens + np.cumsum(counts))
        for name, rows in columns.items():
            self._append(name, rows)
        for span, start in zip(spans, self.n_tokens + np.cumsum(counts) - counts, strict=True):
            packed, escapes = pack_spans(span)
            self._append("spans", packed)
            self._append("escape_tokens", escapes[:, 0].astype(np.int64) + start)
            self._append("escape_spans", escapes[:, 1:])
            self._n_escapes += len(escapes)
        self.n_documents += len(keys)
        self.n_tokens += int(counts.sum())
        # a child that is forked before the next call must find nothing to write when it ends
        self.flush()

    def _append(self, name: str, rows: NDArray[Any]) -> None:
        if name not in self._writers:
            self._writers[name] = ArrayWriter(self._folder / f"{name}.npy", rows.dtype, rows.shape[1:])
        self._writers[name].append(rows)

    def finish(self, lists: tuple[NDArray[np.int64], NDArray[np.uint8]] | None = None) -> SegmentRecord:
        """Make every file durable and describe the segment; the catalog must still name it.

        Args:
            lists: Inverted lists to store with it: list offsets and packed postings.
        """
        files: dict[str, FileRecord] = {name: writer.finish() for name, writer in self._writers.items()}
        if lists is not None:
            files["list_offsets"] = write_array(self._folder / "list_offsets.npy", lists[0])
            files["postings"] = write_array(self._folder / "postings.npy", lists[1])
        sync_folder(self._folder)
        sync_folder(self._folder.parent)
        return SegmentRecord(
            name=self.name,
            codec=self._codec,
            n_documents=self.n_documents,
            n_tokens=self.n_tokens,
            n_escapes=self._n_escapes,
            posting_bytes=None if lists is None else len(lists[1]),
            files=files,
        )

    def flush(self) -> None:
        """Hand everything appended so far to the operating system, so that it can be read back."""
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files; what was not finished is swept by the next writer."""
        for writer in self._writers.values():
            writer.abandon()


@dataclass(frozen=True)
class Segment:
    """A mapped segment, or one that is in memory alone.

    Attributes:
        record: What the catalog knows of it.
        doc_keys: ``(N,) int64``, rising.
        doc_offsets: ``(N + 1,) int64``: document ``n`` has the tokens ``offsets[n]:offsets[n + 1]``.
        columns: Arrays of the tokens, see ``TokenColumns``.
        lists: Inverted lists, or None: offsets ``(K + 1,) int64`` into the packed postings.
    """

    record: SegmentRecord
    doc_keys: NDArray[np.int64]
    doc_offsets: NDArray[np.int64]
    columns: TokenColumns
    lists: tuple[NDArray[np.int64], NDArray[np.uint8]] | None
    _spans: NDArray[np.uint8]
    _escape_tokens: NDArray[np.int64]
    _escape_spans: NDArray[np.int32]

    @classmethod
    def open(
        cls, root: Path, record: SegmentRecord, shape: Mapping[str, tuple[str, tuple[int, ...]]], k: int
    ) -> Segment:
        """Map a segment's files and check everything that the kernels rely on.

        Args:
            root: The index folder.
            record: From the catalog.
            shape: Type and row shape of each token column.
            k: Number of centroids, 0 for plain vectors.

        Raises:
            CorruptIndexError: a file is missing, has another size or shape, or numbers out of range.
        """
        folder = root / record.name
        lists = None
        _check_names(folder, record, shape)

        def column(name: str, dtype: str, row: tuple[int, ...], n: int) -> NDArray[Any]:
            return map_array(folder, record.files[name], dtype, row, n)

        n, t = record.n_documents, record.n_tokens
        if record.posting_bytes is not None:
            lists = column("list_offsets", "int64", (), k + 1), column("postings", "uint8", (), record.posting_bytes)
        segment = cls(
            record,
            column("doc_keys", "int64", (), n),
            column("doc_offsets", "int64", (), n + 1),
            {name: column(name, dtype, row, t) for name, (dtype, row) in shape.items()},
            lists,
            column("spans", "uint8", (), t),
            column("escape_tokens", "int64", (), record.n_escapes),
            column("escape_spans", "int32", (2,), record.n_escapes),
        )
        check_recorded(folder, record.files.values())
        segment._check(folder, k)
        return segment

    @classmethod
    def in_memory(cls, vectors: NDArray[np.floating[Any]], offsets: NDArray[np.int64]) -> Segment:
        """Plain vectors that no folder holds, without spans; document ``n`` has the key ``n``.

        Args:
            vectors: ``(T, D) float16`` or ``float32``.
            offsets: ``(N + 1,) int64``, rising from 0 to T.
        """
        n = len(offsets) - 1
        record = SegmentRecord(
            name=fresh_name("segment"),
            codec=None,
            n_documents=n,
            n_tokens=len(vectors),
            n_escapes=0,
            posting_bytes=None,
            files={},
        )
        spans = np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros((0, 2), np.int32)
        return cls(record, np.arange(n, dtype=np.int64), offsets, {"vectors": vectors}, None, *spans)

    def _check(self, folder: Path, k: int) -> None:
        """Kernels do not check bounds, so every number that they index with is checked here."""
        wrong = []
        offsets, t = self.doc_offsets, self.record.n_tokens
        if offsets[0] != 0 or offsets[-1] != t or not _is_rising(offsets):
            wrong.append("doc_offsets")
        if not _is_rising(self.doc_keys):
            wrong.append("doc_keys")
        ids = self.columns.get("centroid_ids")
        if ids is not None and len(ids):
            if int(ids.max()) >= k:
                wrong.append("centroid_ids")
            let_go(ids)
        vectors = self.columns.get("vectors")
        if vectors is not None and not _is_short(vectors):
            wrong.append("vectors")
        if self.lists is not None:
            bounds, postings = self.lists
            if bounds[0] != 0 or bounds[-1] != len(postings) or (bounds[1:] < bounds[:-1]).any():
                wrong.append("list_offsets")
        escapes = self._escape_tokens
        if len(escapes) and (escapes[0] < 0 or escapes[-1] >= t or not _is_rising(escapes)):
            wrong.append("escape_tokens")
        if wrong:
            msg = f"{folder}: numbers out of range in {', '.join(wrong)}. Restore the index from a backup."
            raise CorruptIndexError(msg)

    def spans(self, positions: Sequence[int]) -> NDArray[np.int32]:
        """Character spans of the tokens of some documents, one after another, ``(T, 2) int32``.

        Raises:
            CorruptIndexError: a span is negative or ends before it starts, or starts fall within a document.
        """
        parts, escapes, passed = [], [], 0
        for position in positions:
            start, end = int(self.doc_offsets[position]), int(self.doc_offsets[position + 1])
            first, last = self._escape_tokens.searchsorted([start, end])
            if last > first:
                tokens = self._escape_tokens[first:last, None] + (passed - start)
                escapes.append(np.hstack([tokens, self._escape_spans[first:last]]))
            parts.append(self._spans[start:end])
            passed += end - start
        joined = np.concatenate(escapes).astype(np.int32) if escapes else np.zeros((0, 3), np.int32)
        counts = [len(part) for part in parts]
        spans = unpack_spans(np.concatenate(parts), joined, counts)
        if not _are_in_order(spans, counts):
            msg = f"{self.record.name}: spans that are negative or fall. Restore the index from a backup."
            raise CorruptIndexError(msg)
        return spans

    def positions(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where documents lie in this segment; keys that are not here are left out."""
        places = np.searchsorted(self.doc_keys, keys)
        inside = places < len(self.doc_keys)
        places, keys = places[inside], keys[inside]
        found: NDArray[np.int64] = places[self.doc_keys[places] == keys]
        return found


def _check_names(folder: Path, record: SegmentRecord, columns: Iterable[str]) -> None:
    lists = () if record.posting_bytes is None else ("list_offsets", "postings")
    expected = {*columns, *lists, "doc_keys", "doc_offsets", "spans", "escape_tokens", "escape_spans"}
    if missing := sorted(expected - record.files.keys()):
        msg = f"{folder}: the catalog names no file for {missing[0]!r}. Restore the index from a backup."
        raise CorruptIndexError(msg)
    odd = [file.name for name, file in record.files.items() if name not in expected or file.name != f"{name}.npy"]
    if odd or (lists and record.codec is None):
        msg = (
            f"{folder}: the catalog names {odd or lists}, which a segment of this kind does not have. Restore a backup."
        )
        raise CorruptIndexError(msg)


def _is_rising(numbers: NDArray[np.int64]) -> bool:
    """Compared and not subtracted: a hostile difference wraps around; block by block, so that memory is bounded."""
    blocks = (numbers[start : start + _BLOCK_ROWS + 1] for start in range(0, len(numbers), _BLOCK_ROWS))
    return all((block[1:] > block[:-1]).all() for block in blocks)


def _is_short(vectors: NDArray[np.float16]) -> bool:
    """Whether no element is infinite, no number, or too large; without signs, float16 rank as their bits do."""
    rows = max(1, _BLOCK_ROWS // vectors.shape[1])
    blocks = (vectors[start : start + rows].view(np.int16) for start in range(0, len(vectors), rows))
    return all(int((block & 0x7FFF).max()) <= _LARGEST_BITS for block in blocks)


def _are_in_order(spans: NDArray[np.int32], counts: Sequence[int]) -> bool:
    starts, ends = spans[:, 0], spans[:, 1]
    falls = starts[1:] < starts[:-1]
    falls[np.cumsum(counts)[:-1] - 1] = False
    return not (falls.any() or (starts < 0).any() or (ends < starts).any())
