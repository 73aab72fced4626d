"""A new index from what is sound in a damaged one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from colbert_rag.callers import caller_errors_raised, calling_progress
from colbert_rag.codec import Codec
from colbert_rag.errors import CorruptIndexError, IndexExistsError, StorageError
from colbert_rag.index import Index
from colbert_rag.models import NO_MODEL, check_model_is_there, check_same_model, encoder_for, is_elsewhere
from colbert_rag.search import column_shape, open_codec
from colbert_rag.storage import (
    Catalog,
    CodecRecord,
    FileRecord,
    Segment,
    SegmentRecord,
    absolute_folder,
    create_catalog,
    index_folder,
)
from colbert_rag.storage.connection import is_in_doubt
from colbert_rag.storage.copying import appearing_folder, copy_file, open_file
from colbert_rag.storage.files import make_folder, remove_folder, sha256_of, sync_folder
from colbert_rag.storage.mapping import check_recorded
from colbert_rag.storage.salvage import Salvage, salvaging
from colbert_rag.storage.system_errors import UnreadableError, read_errors
from colbert_rag.types import (
    Document,
    JsonValue,
    Progress,
    RestoreReport,
    TextEncoder,
    TokenVectors,
    VerifyReport,
    silent,
)
from colbert_rag.verifying import verify_folder
from colbert_rag.writing import encode_documents, write_documents

__all__ = ["restore_index"]


def restore_index(
    source: str | Path,
    target: str | Path,
    encoder: TextEncoder | str | None = None,
    *,
    progress: Progress | None = None,
) -> RestoreReport:
    """Build a new index from what is sound in a damaged one, which is left as it is.

    Documents are taken whose checksum holds. They keep their vectors where the files of these are what was committed;
    otherwise they are encoded anew, which an index that takes vectors only cannot do.

    Args:
        source: The damaged index; nobody should write to it meanwhile.
        target: Where the new one will be; it appears there whole and verified or not at all.
        encoder: The encoder that the index was built with, if it has no name to be found by.
        progress: Told the stages "copy" (bytes), "restore" (documents), those of ``Index.add`` and "verify".

    Raises:
        IndexExistsError: there is something under the target's name.
        IndexNotFoundError: there is no catalog in the source.
        CorruptIndexError: too little of the catalog is left.
        StorageError: the catalog cannot be read, or the new index not be written.
        IndexLockedError: another process is recovering the catalog after a crash.
        ModelMismatchError: the encoder is not the one that the index was built with.
        ModelNotFoundError: documents must be encoded anew, and their model is not here.
    """
    old, new = index_folder(source), absolute_folder(target)
    if new.resolve().is_relative_to(old.resolve()):
        msg = f"{new}: lies inside the index {old}, which is left as it is. Choose a place outside."
        raise IndexExistsError(msg)
    tell = calling_progress(progress or silent)
    with caller_errors_raised(), ExitStack() as stack:
        salvage = stack.enter_context(salvaging(old))
        building = stack.enter_context(appearing_folder(new))
        rescue = _Rescue(old, building, salvage, encoder, tell)
        with _read_back(new), closing(rescue.create()) as catalog:
            again = rescue.write_kept(catalog)
            rescue.check_found(again)
            encoded = rescue.encode(catalog, again)
        _check(verify_folder(building, tell), old)
        return rescue.report(new, encoded)


@contextmanager
def _read_back(new: Path) -> Iterator[None]:
    """Around all that reads the new catalog: what was written a moment ago is not damaged, its disk fails."""
    try:
        yield
    except CorruptIndexError as err:
        if not is_in_doubt(err):
            raise
        msg = (
            f"{new}: what was written there cannot be read back ({err.__cause__}), so nothing was kept. Check the "
            "disk, or choose another place for the new index, and repeat."
        )
        raise StorageError(msg) from err


def _check(report: VerifyReport, old: Path) -> None:
    if not report.ok:
        found = "; ".join(report.problems[:5])
        msg = (
            f"{old}: what can be read of it does not fit together, so nothing was kept: {found}. Restore a backup; or, "
            "where the disk of the new index is what fails, choose another place for it."
        )
        raise CorruptIndexError(msg)


class _Rescue:
    """What is carried from the damaged index to the new one.

    Args:
        old: The damaged index.
        new: The folder of the new one, empty.
        salvage: The catalog of the old.
        encoder: As a user gave it.
        progress: Told what goes on.
    """

    def __init__(
        self, old: Path, new: Path, salvage: Salvage, encoder: TextEncoder | str | None, progress: Progress
    ) -> None:
        self._old, self._new = old, new
        self._salvage = salvage
        self._encoder = encoder
        self._progress = progress
        self._settings = salvage.settings()
        # without settings nobody knows which model these vectors are of
        self._codec = None if self._settings is None else salvage.codec()
        self._segments = [] if self._settings is None else salvage.segments()
        self._copied = 0
        self._problems: list[str] = []
        self._kept: set[int] = set()
        self._lost: list[str | None] = []
        if self._settings is not None and encoder is not None:
            check_same_model(old, self._settings.model, encoder_for(encoder, self._settings.model))

    def create(self) -> Catalog:
        """The new catalog, without documents, with the settings of the old one where they can be read."""
        if self._settings is not None:
            create_catalog(self._new, self._settings)
        elif self._encoder is None:
            msg = (
                f"{self._old}: the settings of the index cannot be read. Name the model that it was built with: "
                f"colbert-rag restore OLD NEW --model NAME. Every document is then encoded anew."
            )
            raise CorruptIndexError(msg)
        else:
            Index.create(self._new, self._encoder).close()
            self._problems.append("the settings are lost: default options, and every document was encoded anew")
        return Catalog(self._new)

    def write_kept(self, catalog: Catalog) -> list[int]:
        """Write the documents that have sound vectors; returns the keys of those that must be encoded anew."""
        codec = self._copy_codec()
        segments = self._copy_segments(codec)
        counts: dict[int, int] = {}
        for segment in segments:
            counts |= zip(segment.doc_keys.tolist(), np.diff(segment.doc_offsets).tolist(), strict=True)
        keys = self._salvage.find_documents(counts)
        dead = self._salvage.tombstones()
        # what has neither an id nor a tombstone was lost, and nobody can say what it was
        self._lost += [None for key, document_id in keys.items() if document_id is None and key not in dead]
        again: list[int] = []
        with catalog.writing() as writing:
            if codec is not None:
                writing.set_codec(codec[0])
            for segment in segments:
                writing.add_segment(segment.record)
            writing.take_keys(max(keys, default=0))
            writing.add_documents(self._documents({k: i for k, i in keys.items() if i is not None}, counts, again))
            writing.bury(counts.keys() - self._kept)
        return again

    def check_found(self, again: Sequence[int]) -> None:
        """Refuse to give an empty index of default settings as what was left of the old one."""
        if self._settings is None and not again:
            msg = f"{self._old}: neither settings nor any document can be read of it. Restore a backup."
            raise CorruptIndexError(msg)

    def _documents(
        self, ids: Mapping[int, str], counts: Mapping[int, int], again: list[int]
    ) -> Iterator[tuple[int, Document, int]]:
        """The rows of the documents that are kept; ``again`` gets the keys of those without sound vectors."""
        taken: set[str] = set()
        for done, (key, document_id) in enumerate(sorted(ids.items()), 1):
            document = self._salvage.document(key)
            if document is None or document.id in taken:
                self._lost.append(document_id)
            else:
                taken.add(document.id)
                if key in counts:
                    self._kept.add(key)
                    yield key, document, counts[key]
                else:
                    again.append(key)
            self._progress("restore", done, len(ids))

    def _copy_codec(self) -> tuple[CodecRecord, Codec] | None:
        record = self._codec
        if record is None or self._settings is None:
            return None
        try:
            self._copy(record)
            return record, open_codec(self._new, record, self._settings)
        except CorruptIndexError as err:
            self._give_up(record, err)
            return None

    def _copy_segments(self, codec: tuple[CodecRecord, Codec] | None) -> list[Segment]:
        name, decoder = (None, None) if codec is None else (codec[0].name, codec[1])
        segments: list[Segment] = []
        if self._settings is None:
            return segments
        for record in self._segments:
            if record.codec != name:
                self._problems.append(f"{record.name}: packed with {record.codec}, which is lost; its vectors are too")
                continue
            try:
                self._copy(record)
                shape = column_shape(self._settings.dim, decoder)
                segments.append(Segment.open(self._new, record, shape, decoder.n_centroids if decoder else 0))
            except CorruptIndexError as err:
                self._give_up(record, err)
        return segments

    def _copy(self, record: SegmentRecord | CodecRecord) -> None:
        """Copy the files of a folder.

        Raises:
            CorruptIndexError: one of them is not what was committed, or they are mostly holes.
        """
        folder = self._new / record.name
        make_folder(folder)
        end = self._copied + _size(record)
        try:
            # before the first byte: copied, the holes would be zeros of the new disk
            with _damage():
                check_recorded(self._old / record.name, record.files.values())
            for file in record.files.values():
                for size in self._copy_file(record.name, file):
                    self._tell_copied(self._copied + size)
                with read_errors(folder / file.name):
                    digest = sha256_of(folder / file.name)
                if digest != file.sha256:
                    msg = f"{record.name}/{file.name}: content differs from what was committed (sha256)"
                    raise CorruptIndexError(msg)
        finally:
            self._tell_copied(end)
        sync_folder(folder)

    def _copy_file(self, folder: str, record: FileRecord) -> Iterator[int]:
        with _damage(), open_file(self._old, folder, record) as opened:
            yield from copy_file(opened, self._new / folder / record.name)

    def _tell_copied(self, done: int) -> None:
        self._copied = done
        total = sum(map(_size, self._segments)) + (0 if self._codec is None else _size(self._codec))
        self._progress("copy", done, total)

    def _give_up(self, record: SegmentRecord | CodecRecord, err: CorruptIndexError) -> None:
        remove_folder(self._new / record.name)
        self._problems.append(str(err))

    def encode(self, catalog: Catalog, keys: Sequence[int]) -> int:
        """Encode documents anew and add them under new keys; returns how many."""
        if not keys:
            return 0
        with catalog.reading() as reading:
            model = catalog.state(reading).settings.model
        if model == NO_MODEL:
            self._lost += [document.id for document in self._read(keys)]
            self._problems.append("the index takes vectors only: documents whose vectors are damaged are lost")
            return 0
        encoder = self._model(model)

        def encoded(chunk: Sequence[Document], progress: Progress) -> Sequence[TokenVectors]:
            return encode_documents(encoder, chunk, progress)

        return write_documents(
            self._new,
            catalog,
            self._read(keys),
            encoded,
            self._progress,
            replace=False,
            is_elsewhere=lambda: is_elsewhere(encoder),
        )

    def _model(self, model: Mapping[str, JsonValue]) -> TextEncoder:
        if self._encoder is None:
            check_model_is_there(self._old, model)
        chosen = encoder_for(self._encoder, model)
        check_same_model(self._old, model, chosen)
        return chosen

    def _read(self, keys: Sequence[int]) -> Iterator[Document]:
        documents = (self._salvage.document(key) for key in keys)
        return (document for document in documents if document is not None)

    def report(self, path: Path, encoded: int) -> RestoreReport:
        """What has become of the documents."""
        problems = (*self._salvage.problems, *self._problems)
        named = tuple(sorted(document_id for document_id in self._lost if document_id is not None))
        uncounted = self._salvage.uncounted
        return RestoreReport(str(path), len(self._kept), encoded, named, len(self._lost), problems, uncounted)


@contextmanager
def _damage() -> Iterator[None]:
    """A disk that does not give what it holds is damage like any other here."""
    try:
        yield
    except UnreadableError as err:
        raise CorruptIndexError(str(err)) from err


def _size(record: SegmentRecord | CodecRecord) -> int:
    return sum(file.size for file in record.files.values())
