"""The index: documents in, ranked documents out. It composes the parts and computes nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from colbert_rag.answers import Answers
from colbert_rag.asking import Asking, Terms
from colbert_rag.backup import backup_index
from colbert_rag.callers import caller_errors_raised, calling_progress
from colbert_rag.codec import require_faiss
from colbert_rag.errors import IndexExistsError, IndexNotFoundError, InvalidDocumentError, ModelMismatchError
from colbert_rag.explaining import explain
from colbert_rag.ingest import write_session
from colbert_rag.inspection import index_info
from colbert_rag.models import (
    NO_MODEL,
    check_dim,
    check_model_is_there,
    check_same_model,
    encoder_for,
    is_elsewhere,
    model_record,
)
from colbert_rag.search import Ranker
from colbert_rag.search.device import check_device, ranker_for
from colbert_rag.selection import CheckedFilter, Filter, checked_filter, selected_keys
from colbert_rag.storage import (
    Catalog,
    IndexSettings,
    Reading,
    absolute_folder,
    check_is_vacant,
    create_catalog,
    index_folder,
)
from colbert_rag.types import (
    BackupReport,
    Document,
    Explanation,
    Float32Array,
    Hit,
    IndexInfo,
    JsonValue,
    Mode,
    Progress,
    SearchConfig,
    TextEncoder,
    TokenVectors,
    VerifyReport,
    silent,
)
from colbert_rag.validation import (
    check_create_options,
    check_ids,
    check_limit,
    check_pair,
    check_pool_factor,
    check_stream,
    check_timeout,
)
from colbert_rag.verifying import verify_index
from colbert_rag.writing import encode_documents, write_documents

__all__ = ["Index"]

_DEFAULT = SearchConfig()
# documents of find() that are read at once
_PAGE = 256


class Index:
    """A folder of documents that can be searched by late interaction.

    Until it holds ``exact_tokens`` tokens an index keeps plain vectors and every result is exact;
    then it trains a codec and keeps ``bits`` per dimension. Any number of threads and processes may
    search while one writes; every search sees the newest commit, whole.

    Made by :meth:`create` and :meth:`open`. Example::

        index = Index.create("handbook", Encoder())
        index.add([Document("a", "The notice period is three months.", {"year": 2024})])
        index.search("how long is the notice period?", k=5)
    """

    def __init__(self, path: Path, catalog: Catalog, encoder: TextEncoder | None, ranker: Ranker) -> None:
        self._path = path
        self._ranker = ranker
        self._catalog = catalog
        self._encoder = encoder
        self._encoder_guard = threading.Lock()
        self._answers = Answers(path, catalog, ranker)
        self._asking = Asking(self._answers, lambda: self.encoder, lambda: self._dim)

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: TextEncoder | str | None = None,
        *,
        dim: int | None = None,
        bits: Literal[1, 2, 4, 8] = 4,
        pool_factor: Literal[1, 2, 3, 4] = 1,
        exact_tokens: int = 50_000,
        probe_tokens: int = 1_000_000,
        lock_timeout_s: float = 30.0,
        device: str = "auto",
    ) -> Index:
        """Create an empty index in a folder that is new or empty.

        Args:
            path: The folder; its parents are created too. A ``~`` at its start is the user's home.
            encoder: An encoder, or a model's name or path; None for the built-in model.
            dim: Given instead of an encoder, the index takes vectors only, of this dimension.
            bits: Bits per dimension once the index is compressed.
            pool_factor: Keep about one of this many token vectors of each document, the means of tokens that resemble
                one another; queries are left as they are. What it costs: docs/benchmarks.md.
            exact_tokens: The number of tokens from which on it is compressed.
            probe_tokens: The number of tokens from which on a segment gets inverted lists.
            lock_timeout_s: How long a write waits for another writer.
            device: As in :meth:`open`.

        Raises:
            IndexExistsError: the folder is not empty, or no folder.
            InvalidArgumentError: the path is neither a str nor a path.
            InvalidQueryError: an option is out of range.
            MissingDependencyError: faiss is not installed, which the index will need when it grows.
            DeviceError: a device is named that is not there.
        """
        folder = index_folder(path)
        # creating checks again; here it is before a model loads
        check_is_vacant(folder)
        ranker = ranker_for(check_device(device))
        check_timeout(lock_timeout_s)
        check_create_options(encoder, dim, bits, exact_tokens, probe_tokens)
        check_pool_factor(pool_factor)
        require_faiss()
        chosen = None if dim is not None else encoder_for(encoder)
        settings = IndexSettings(
            dim=int(dim or 0) if chosen is None else check_dim(chosen),
            bits=bits,
            exact_tokens=exact_tokens,
            probe_tokens=probe_tokens,
            seed=0,
            model=model_record(chosen),
            pool_factor=int(pool_factor),
            word_pairs=True,
        )
        create_catalog(folder, settings)
        return cls(folder, Catalog(folder, lock_timeout_s=lock_timeout_s), chosen, ranker)

    @classmethod
    def open(
        cls,
        path: str | Path,
        encoder: TextEncoder | str | None = None,
        *,
        read_only: bool = False,
        lock_timeout_s: float = 30.0,
        device: str = "auto",
    ) -> Index:
        """Open an index; its model is found again by name when no encoder is given.

        Nothing is read but the catalog; the model loads at the first text, vectors are mapped at the first search.

        Args:
            path: The folder, as in :meth:`create`.
            encoder: The encoder that the index was built with, if it has no name to be found by.
            read_only: Refuse writes.
            lock_timeout_s: How long a write waits for another writer.
            device: Where vectors are compared and compressed: "cpu"; "cuda", "cuda:1", or several GPUs such as
                "cuda:0,cuda:1"; "auto" for a GPU where one can be used. What it needs and does: docs/how-to/gpu.md.

        Raises:
            IndexNotFoundError: the folder is no index.
            InvalidArgumentError: the path is neither a str nor a path.
            ModelMismatchError: another model than the index was built with.
            CorruptIndexError: the catalog cannot be read.
            UnsupportedFormatError: a newer format.
            DeviceError: a device is named that is not there.
        """
        ranker = ranker_for(check_device(device))
        check_timeout(lock_timeout_s)
        folder = index_folder(path)
        catalog = Catalog(folder, read_only=read_only, lock_timeout_s=lock_timeout_s)
        try:
            settings = catalog.read(catalog.state).settings
            chosen = None
            if encoder is not None:
                chosen = encoder_for(encoder, settings.model)
                check_same_model(folder, settings.model, chosen)
            return cls(folder, catalog, chosen, ranker)
        except BaseException:
            catalog.close()
            raise

    @classmethod
    def open_or_create(
        cls,
        path: str | Path,
        encoder: TextEncoder | str | None = None,
        *,
        lock_timeout_s: float = 30.0,
        device: str = "auto",
    ) -> Index:
        """Open the index in a folder; where there is none, create it, with the defaults of :meth:`create`.

        Raises:
            IndexExistsError: the folder holds something else.
            ModelMismatchError: the index there was built with another model than the given one.
        """
        try:
            return cls.open(path, encoder, lock_timeout_s=lock_timeout_s, device=device)
        except IndexNotFoundError:
            pass
        try:
            return cls.create(path, encoder, lock_timeout_s=lock_timeout_s, device=device)
        except IndexExistsError as err:
            # another process may have created it between the two attempts
            try:
                return cls.open(path, encoder, lock_timeout_s=lock_timeout_s, device=device)
            except IndexNotFoundError:
                raise err from None

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def device(self) -> str:
        """Where vectors are compared: "cpu", "cuda:0", or several with commas between them."""
        return self._ranker.device

    @property
    def model(self) -> dict[str, JsonValue]:
        """The fingerprint of the model that the index was built with, without loading it; ``"model"`` is its name."""
        return self._settings().model

    @property
    def encoder(self) -> TextEncoder:
        """The encoder, found again by the name that the index remembers.

        Raises:
            ModelMismatchError: the index takes vectors only, or the model under that name has changed.
            ModelNotFoundError: there is no such model here.
        """
        with self._encoder_guard:
            if self._encoder is None:
                model = self._settings().model
                if model == NO_MODEL:
                    msg = f"{self._path}: this index takes vectors only; use add_vectors and search_vectors."
                    raise ModelMismatchError(msg)
                check_model_is_there(self._path, model)
                found = encoder_for(None, model)
                check_same_model(self._path, model, found)
                self._encoder = found
            return self._encoder

    def add(
        self, documents: Iterable[Document], *, commit_every: int | None = None, progress: Progress | None = None
    ) -> int:
        """Add documents; all of the call or none of it.

        The documents may be a generator of any length: they are encoded and written piece by piece.

        Args:
            documents: With ids that are new to the index.
            commit_every: Commit after this many documents, so that an interrupt loses less; then each
                of these parts is all or nothing by itself.
            progress: Told the stages "encode" (tokens; their total is an estimate until the last documents), "index"
                (documents), "train" and "pack".

        Returns:
            The number of documents added.

        Raises:
            InvalidDocumentError: a document is refused.
            DuplicateIdError: an id is in the index already or occurs twice.
            IndexLockedError: another writer holds the index.
        """
        return self._write(documents, commit_every, progress, replace=False)

    def upsert(
        self,
        documents: Iterable[Document],
        *,
        replacing: Filter | None = None,
        commit_every: int | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Like :meth:`add`, but a document whose id is known replaces the old one.

        Documents that the index holds already as they are given are left as they are and not encoded
        again.

        Args:
            documents: As in :meth:`add`.
            replacing: What these documents stand for from now on, such as the chunks of a source:
                everything that this filter holds for is deleted in the same commit.
            commit_every: As in :meth:`add`; not together with ``replacing``.
            progress: As in :meth:`add`.

        Returns:
            The number of documents written: new ones and changed ones.
        """
        if replacing is not None and commit_every is not None:
            msg = "upsert() takes replacing or commit_every, not both: what is replaced goes in the commit of the new."
            raise InvalidDocumentError(msg)
        chosen = None if replacing is None else checked_filter(replacing)
        return self._write(documents, commit_every, progress, replace=True, replacing=chosen)

    def add_vectors(
        self, documents: Iterable[tuple[Document, TokenVectors]], *, progress: Progress | None = None
    ) -> int:
        """Add documents with token vectors that were made elsewhere; all of the call or none of it.

        Args:
            documents: Pairs of a document and its ``(T, D)`` unit vectors with spans.
            progress: As in :meth:`add`.

        Raises:
            InvalidDocumentError: a document is refused, or something is no pair.
            DuplicateIdError: as in :meth:`add`.
            InvalidVectorsError: vectors are refused: shape, type, not finite, not of unit length.
        """
        check_stream(documents)
        vectors: dict[str, TokenVectors] = {}

        def stripped() -> Iterator[Document]:
            for number, pair in enumerate(documents):
                check_pair(pair, number)
                document, tokens = pair
                if isinstance(document, Document) and isinstance(document.id, str):
                    vectors[document.id] = tokens
                yield document

        def encode(chunk: Sequence[Document], _: Progress) -> list[TokenVectors]:
            return [vectors.pop(document.id) for document in chunk]

        return write_documents(
            self._path,
            self._catalog,
            stripped(),
            encode,
            progress or silent,
            replace=False,
            packer=self._ranker.packer,
        )

    def _write(
        self,
        documents: Iterable[Document],
        commit_every: int | None,
        progress: Progress | None,
        *,
        replace: bool,
        replacing: CheckedFilter | None = None,
    ) -> int:
        def encode(chunk: Sequence[Document], progress: Progress) -> list[TokenVectors]:
            return encode_documents(self.encoder, chunk, progress)

        return write_documents(
            self._path,
            self._catalog,
            documents,
            encode,
            progress or silent,
            commit_every=commit_every,
            replace=replace,
            replacing=replacing,
            packer=self._ranker.packer,
            is_elsewhere=lambda: is_elsewhere(self.encoder),
        )

    def delete(self, ids: Iterable[str] | None = None, *, filter: Filter | None = None) -> int:
        """Delete documents by id or by what they say of themselves. They are gone from every later search.

        Args:
            ids: Ids; unknown ones are left out.
            filter: Given instead of ids: see :meth:`search`. ``{}`` is every document.

        Returns:
            The number of documents deleted.

        Raises:
            InvalidDocumentError: ids are not a list of str, or not exactly one of the two is given.
            InvalidFilterError: the filter is refused.
        """
        if (ids is None) == (filter is None):
            msg = "delete() takes ids or a filter, exactly one of them; filter={} deletes every document."
            raise InvalidDocumentError(msg)
        wanted = [] if ids is None else list(dict.fromkeys(check_ids(ids)))
        chosen = None if filter is None else checked_filter(filter)
        with caller_errors_raised(), write_session(self._path, self._catalog, silent, self._ranker.packer) as session:
            deleted = session.delete(wanted) if chosen is None else session.delete_matching(chosen)
            session.finish()
        return deleted

    def compact(self, *, progress: Progress | None = None) -> None:
        """Merge all segments without deleted documents; train a new codec when the index has outgrown its own.

        Raises:
            IndexLockedError: another writer holds the index.
        """
        tell = calling_progress(progress or silent)
        with caller_errors_raised(), write_session(self._path, self._catalog, tell, self._ranker.packer) as session:
            session.compact()
        self._catalog.vacuum()

    def get(self, document_id: str) -> Document | None:
        """The document with this id, or None."""
        found = self.get_many([document_id])
        return found[0] if found else None

    def get_many(self, ids: Iterable[str]) -> list[Document]:
        """The documents with these ids, in the order of the ids; unknown ids are left out."""
        wanted = check_ids(ids)

        def found(reading: Reading) -> dict[int, Document]:
            return reading.documents([row.key for row in reading.find(list(dict.fromkeys(wanted)))])

        documents = self._catalog.read(found)
        by_id = {document.id: document for document in documents.values()}
        return [by_id[i] for i in wanted if i in by_id]

    def ids(self) -> Iterator[str]:
        """Every id, rising, as of one commit."""
        # read whole: a transaction that waits on its caller would hold up every later write
        yield from self._catalog.read(lambda reading: list(reading.ids()))

    def find(self, filter: Filter | None = None, *, limit: int | None = None) -> Iterator[Document]:
        """The documents that a filter holds for, by rising id, as of now.

        What is deleted or replaced while they are read is left out.

        Args:
            filter: As in :meth:`search`; None for every document.
            limit: How many at most; None for all.

        Raises:
            InvalidFilterError: the filter is refused.
        """
        return self._found(checked_filter({} if filter is None else filter), check_limit(limit))

    def _found(self, chosen: CheckedFilter, limit: int | None) -> Iterator[Document]:
        with caller_errors_raised():
            ids = self._catalog.read(lambda reading: reading.ids_of(selected_keys(reading, chosen)))
        keys = sorted(ids, key=ids.__getitem__)[:limit]
        # page by page: a transaction that waits on its caller would hold up every later write
        for start in range(0, len(keys), _PAGE):
            page = keys[start : start + _PAGE]
            documents = self._catalog.read(partial(Reading.documents, keys=page))
            yield from (documents[key] for key in page if key in documents)

    def __len__(self) -> int:
        return self._catalog.read(self._catalog.count)

    def __contains__(self, document_id: object) -> bool:
        try:
            return self.get(document_id) is not None  # type: ignore[arg-type]
        except InvalidDocumentError:
            return False

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        mode: Mode = "maxsim",
        filter: Filter | None = None,
        config: SearchConfig = _DEFAULT,
    ) -> list[Hit]:
        """Rank documents for one query.

        Args:
            query: A text that is not blank.
            k: 1 to 100,000; more than there are documents gives all of them.
            mode: "maxsim" (late interaction), "bm25" (words) or "hybrid" (both, joined as ``config`` says).
            filter: Which documents may be found, decided before anything is ranked: a mapping such as
                ``{"year": {"$gte": 2020}}``, a condition of ``colbert_rag.filters``, or a function of
                the document; see docs/how-to/filters.md.
            config: How hard to try.

        Returns:
            Hits, best first; equal scores are ordered by id.

        Raises:
            InvalidQueryError: the query, k, mode or config is refused.
            InvalidFilterError: the filter is refused.
            CorruptIndexError: the index is damaged.
        """
        return self.search_many([query], k, mode=mode, filter=filter, config=config)[0]

    def search_many(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "maxsim",
        filter: Filter | None = None,
        config: SearchConfig = _DEFAULT,
    ) -> list[list[Hit]]:
        """Rank documents for several queries, encoded in one forward pass; one list of hits each."""
        return self._asking.texts(queries, Terms.of(k, mode, filter, config))

    async def asearch(
        self,
        query: str,
        k: int = 10,
        *,
        mode: Mode = "maxsim",
        filter: Filter | None = None,
        config: SearchConfig = _DEFAULT,
    ) -> list[Hit]:
        """Like :meth:`search`, off the event loop; concurrent callers share one forward pass."""
        return await self._asking.text(query, Terms.of(k, mode, filter, config))

    def search_vectors(
        self,
        queries: Sequence[Float32Array],
        k: int = 10,
        *,
        filter: Filter | None = None,
        config: SearchConfig = _DEFAULT,
    ) -> list[list[Hit]]:
        """Rank documents for queries that were encoded elsewhere.

        Args:
            queries: A list of ``(Q, D) float32`` arrays, rows of unit length, or of lengths that are their weights in
                MaxSim and 1 in the mean of a query.
            k: As in :meth:`search`.
            filter: As in :meth:`search`.
            config: As in :meth:`search`.

        Raises:
            InvalidQueryError: vectors are refused: shape, type, not finite, length.
        """
        return self._asking.vectors(queries, Terms.of(k, "maxsim", filter, config))

    def explain(
        self,
        query: str,
        ids: Iterable[str] | None = None,
        *,
        k: int = 3,
        mode: Mode = "maxsim",
        filter: Filter | None = None,
        config: SearchConfig = _DEFAULT,
    ) -> list[Explanation]:
        """Like :meth:`search`, and which token of each document every token of the query matched.

        It is read off the stored vectors; no document is encoded again. MaxSim is the sum of the
        similarities (ColBERT, arXiv 2004.12832, section 3.3), so in mode "maxsim" they say where a score comes from.

        Args:
            query: As in :meth:`search`.
            ids: The documents to explain instead of the best ``k``; not together with a filter.
            k: As in :meth:`search`.
            mode: As in :meth:`search`.
            filter: As in :meth:`search`.
            config: As in :meth:`search`.

        Raises:
            InvalidQueryError: as in :meth:`search`, there are ids and mode "hybrid", or no document is found for one of
                the ids.
            ModelMismatchError: the index takes vectors only.
        """
        wanted = None if ids is None else list(dict.fromkeys(check_ids(ids)))
        return explain(self._answers, self.encoder, query, wanted, Terms.of(k, mode, filter, config))

    def info(self) -> IndexInfo:
        """What the index holds and how large it is."""
        return index_info(self._path, self._catalog)

    def verify(self, *, progress: Progress | None = None) -> VerifyReport:
        """Read every byte and compare it with what was committed; repairs nothing."""
        return verify_index(self._path, self._catalog, progress or silent)

    def backup(self, target: str | Path, *, progress: Progress | None = None) -> BackupReport:
        """Copy the newest commit to a new folder, while others search and write.

        The copy is an index like any other. It is verified before it appears; ``Index.open`` opens it.

        Args:
            target: A folder that does not exist, outside this index.
            progress: Told the stages "catalog" (pages), "copy" and "verify" (bytes).

        Raises:
            IndexExistsError: there is something under that name.
            CorruptIndexError: this index is damaged; nothing was kept. See docs/how-to/backup.md.
            StorageError: the copy cannot be written.
        """
        return backup_index(self._path, self._catalog, absolute_folder(target), progress or silent)

    def close(self) -> None:
        """Free files and threads; safe to call twice, and in a forked child, which has none of them."""
        if self._catalog.is_inherited:
            return
        self._asking.close()
        self._answers.close()
        self._catalog.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({str(self._path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        catalog = self._catalog
        again = partial(
            Index.open,
            read_only=catalog.read_only,
            lock_timeout_s=catalog.lock_timeout_s,
            device=self._ranker.wanted,
        )
        return again, (str(self._path), self._encoder)

    @cached_property
    def _dim(self) -> int:
        return self._settings().dim

    def _settings(self) -> IndexSettings:
        return self._catalog.read(self._catalog.state).settings
