"""One write to an index: documents become segments, and the catalog commits them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from colbert_rag.codec import Codec, Packer, ProcessorPacker, pool_tokens
from colbert_rag.errors import DuplicateIdError
from colbert_rag.merging import columns_of, finish_segment, merge, save_codec, segments_to_merge, train_on
from colbert_rag.search import SegmentView, column_shape, open_snapshot, view_of
from colbert_rag.selection import CheckedFilter, selected_keys
from colbert_rag.storage import (
    Catalog,
    CatalogState,
    CodecRecord,
    Segment,
    SegmentRecord,
    SegmentWriter,
    StoredDocument,
    Writing,
    content_of,
    remove_folder,
)
from colbert_rag.storage.key_set import KeySet
from colbert_rag.storage.leftovers import leftovers, remove_leftovers
from colbert_rag.types import Document, Progress, TokenVectors
from colbert_rag.validation import check_count, check_token_vectors

__all__ = ["WriteSession", "write_session"]

# plain vectors of one call that wait on disk for a codec: 1 GB at 128 dimensions
_MOST_PLAIN_TOKENS = 4_000_000
# a codec is trained again when the corpus has grown by this factor, which doubles the centroids; where more is to come
# it gets the centroids of a corpus that has
_STALE_FACTOR = 4
# a write trains again where that takes no longer than a minute or so; a larger index waits for compact()
_MOST_RETRAINED_TOKENS = 4_000_000


@contextmanager
def write_session(
    root: Path, catalog: Catalog, progress: Progress, packer: Packer | None = None
) -> Iterator[WriteSession]:
    """A session inside its transaction; committed when the block ends well, undone when it does not."""

    def tell(stage: str, done: int, total: int | None) -> None:
        progress(stage, done, total)
        # a child that was forked in there shares the files that are being written
        catalog.check_usable()

    with catalog.writing() as writing, WriteSession(root, catalog, writing, tell, packer) as session:
        yield session
    # a sweep would be wrong here: without the lock another writer may already have begun its files
    for name in session.replaced:
        remove_folder(root / name)


class WriteSession:
    """Everything that one write transaction does to an index folder.

    Leaving the ``with`` block by an exception removes the files that were begun; the transaction
    around it is rolled back by its owner.

    Args:
        root: The index folder.
        catalog: Its catalog.
        writing: The open transaction.
        progress: Told what goes on.
        packer: Trains and compresses; None for the processor.
    """

    def __init__(
        self, root: Path, catalog: Catalog, writing: Writing, progress: Progress, packer: Packer | None = None
    ) -> None:
        self._root = root
        self._catalog = catalog
        self._writing = writing
        self._progress = progress
        state = self._swept_state()
        self._settings = state.settings
        snapshot = open_snapshot(root, state, writing.tombstones(), None)
        self._views = list(snapshot.views)
        self._packer = packer or ProcessorPacker()
        self._codec: Codec | None = None if snapshot.codec is None else self._packer.prepared(snapshot.codec)
        self._codec_record: CodecRecord | None = state.codec
        self._writer: SegmentWriter | None = None
        self._first_key: int | None = None
        self._left_as_they_are = KeySet()
        # ids that wanted() has given out and write() has not got yet
        self._awaited: set[str] = set()
        self.replaced: list[str] = []
        self._made: list[str] = []

    def _swept_state(self) -> CatalogState:
        """The commit to go on from, after what unfinished writes left is removed."""
        state = self._catalog.state(self._writing)
        found = leftovers(self._root, state.folders)
        if found:
            # one of them may have died between its commit reaching the log and anyone seeing it; were its folder
            # removed first, a crash of ours would bring that commit back
            self._catalog.supersede(self._writing)
            state = self._catalog.state(self._writing)
            remove_leftovers(found)
        return state

    def __enter__(self) -> WriteSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._catalog.is_inherited:
            return
        if self._writer is not None:
            self._writer.close()
        if kind is not None:
            for name in self._made:
                remove_folder(self._root / name)

    def wanted(self, documents: Sequence[Document], *, replace: bool) -> list[Document]:
        """Those of some documents that are to be encoded and then given to :meth:`write`, in this order.

        Args:
            documents: Their texts and metadata are checked already.
            replace: Whether they replace what the index holds, of which what is the same is left as it is.

        Raises:
            DuplicateIdError: an id is in the index already (without ``replace``), or came before in this session.
        """
        stored = self._writing.find([document.id for document in documents])
        self._check_ids(documents, stored, replace=replace)
        wanted = self._unchanged_left_out(documents, stored) if replace else list(documents)
        self._awaited.update(document.id for document in wanted)
        return wanted

    def write(self, documents: Sequence[Document], tokens: Sequence[TokenVectors], *, replace: bool) -> None:
        """Write documents that :meth:`wanted` has given out.

        Raises:
            InvalidVectorsError: the encoder or the caller gave unusable vectors.
        """
        if not documents:
            return
        check_count(tokens, documents)
        for document, vectors in zip(documents, tokens, strict=True):
            check_token_vectors(document, vectors, self._settings.dim)
        ids = [document.id for document in documents]
        if replace:
            self._writing.remove_documents(self._writing.find(ids))
        self._append(documents, [pool_tokens(vectors, self._settings.pool_factor) for vectors in tokens])
        self._awaited.difference_update(ids)

    def _unchanged_left_out(self, documents: Sequence[Document], stored: Sequence[StoredDocument]) -> list[Document]:
        known = self._writing.documents([row.key for row in stored])
        same = {d.id: (d.ref_id, content_of(d)) for d in known.values()}
        wanted = [d for d in documents if same.get(d.id) != (d.ref_id, content_of(d))]
        changed = {document.id for document in wanted}
        self._left_as_they_are.update(row.key for row in stored if row.id not in changed)
        return wanted

    def _check_ids(self, documents: Sequence[Document], stored: Sequence[StoredDocument], *, replace: bool) -> None:
        """Refuse documents that the index holds, or, where they replace what it holds, those that came before."""
        found = [row.id for row in stored if not replace or self._came_before(row.key)]
        found += [document.id for document in documents if document.id in self._awaited]
        if found:
            names = ", ".join(map(repr, found[:5])) + (" …" if len(found) > 5 else "")
            why = "occur twice in this call" if replace else "are in the index already; upsert() replaces documents"
            msg = f"{self._root}: ids {names} {why}. Nothing was written."
            raise DuplicateIdError(msg)

    def _came_before(self, key: int) -> bool:
        return key in self._left_as_they_are or (self._first_key is not None and key >= self._first_key)

    def _append(self, documents: Sequence[Document], tokens: Sequence[TokenVectors]) -> None:
        keys = self._writing.take_keys(len(documents))
        if self._first_key is None:
            self._first_key = keys.start
        writer = self._open_writer()
        columns = columns_of(np.concatenate([t.vectors for t in tokens]), self._codec)
        writer.append(keys, [np.asarray(t.spans, np.int32) for t in tokens], columns)
        rows = ((key, document, len(t.vectors)) for key, document, t in zip(keys, documents, tokens, strict=True))
        self._writing.add_documents(rows)
        if self._codec is None and writer.n_tokens >= max(_MOST_PLAIN_TOKENS, self._settings.exact_tokens):
            self._close_segment()
            self._compress(_STALE_FACTOR)

    def _open_writer(self) -> SegmentWriter:
        if self._writer is None:
            name = None if self._codec_record is None else self._codec_record.name
            self._writer = SegmentWriter(self._root, name)
            self._made.append(self._writer.name)
        return self._writer

    def delete(self, ids: Sequence[str]) -> int:
        """Delete documents; unknown ids are left out. Returns how many there were."""
        return self._remove(self._writing.find(ids))

    def delete_matching(self, chosen: CheckedFilter) -> int:
        """Delete the documents that a checked filter holds for. Returns how many there were."""
        keys = selected_keys(self._writing, chosen)
        return self._remove(self._writing.find(list(self._writing.ids_of(keys).values())))

    def _remove(self, found: Sequence[StoredDocument]) -> int:
        self._writing.remove_documents(found)
        return len(found)

    def finish(self) -> None:
        """Close what was written, compress and merge where it is time; the transaction may then commit."""
        self._catalog.check_usable()
        self._close_segment()
        n_tokens = sum(view.segment.record.n_tokens for view in self._views)
        self._refresh()
        if self._codec is None and n_tokens >= max(1, self._settings.exact_tokens):
            self._compress()
        elif n_tokens <= _MOST_RETRAINED_TOKENS and self._is_outgrown():
            self._compress(_STALE_FACTOR)
        chosen = segments_to_merge(self._views)
        if chosen:
            self._merge(chosen, self._codec)

    def compact(self) -> None:
        """Merge all segments without their deleted documents, with a new codec if the corpus has outgrown it."""
        self._refresh()
        if self._is_outgrown():
            self._compress()
        elif len(self._views) > 1 or any(view.alive is not None for view in self._views):
            self._merge(list(self._views), self._codec)
        self._writing.optimise()

    def _n_live_tokens(self) -> int:
        return sum(int((ends - starts).sum()) for starts, ends in (view.bounds for view in self._views))

    def _is_outgrown(self) -> bool:
        """Whether a new codec would be so much better that it is worth what vectors lose when they are packed anew."""
        record = self._codec_record
        if record is None:
            return False
        return self._n_live_tokens() >= max(self._settings.exact_tokens, _STALE_FACTOR * record.trained_on)

    def _close_segment(self) -> None:
        if self._writer is None:
            return
        record = finish_segment(self._writer, self._root, self._codec, self._settings)
        self._writer = None
        self._writing.add_segment(record)
        self._views.append(self._open(record))

    def _open(self, record: SegmentRecord) -> SegmentView:
        k = 0 if self._codec is None else self._codec.n_centroids
        return SegmentView(Segment.open(self._root, record, column_shape(self._settings.dim, self._codec), k), None)

    def _refresh(self) -> None:
        """Learn which documents of the mapped segments this session has deleted."""
        deleted = np.array(self._writing.tombstones(), np.int64)
        self._views = [view_of(view.segment, deleted) for view in self._views]

    def _compress(self, growth: int = 1) -> None:
        """Train a codec on everything there is, for so many times as much, and pack all segments with it."""
        self._refresh()
        old, old_record = self._codec, self._codec_record
        trained, trained_on = train_on(
            self._views, old, self._settings, self._progress, self._packer.clustering, growth
        )
        codec = self._packer.prepared(trained)
        self._codec_record = save_codec(self._root, codec, trained_on)
        self._made.append(self._codec_record.name)
        self._writing.set_codec(self._codec_record)
        if old_record is not None:
            self.replaced.append(old_record.name)
        views, self._codec = list(self._views), codec
        self._merge(views, old)

    def _merge(self, views: Sequence[SegmentView], packed_with: Codec | None) -> None:
        name = None if self._codec_record is None else self._codec_record.name
        record = merge(self._root, views, (packed_with, self._codec), name, self._settings, self._progress)
        names = [view.segment.record.name for view in views]
        dropped = [
            key for view in views if view.alive is not None for key in view.segment.doc_keys[~view.alive].tolist()
        ]
        self._writing.replace_segments(names, record, dropped)
        self._views = [view for view in self._views if view not in views]
        if record is not None:
            self._made.append(record.name)
            self._views.append(self._open(record))
        self.replaced.extend(names)
