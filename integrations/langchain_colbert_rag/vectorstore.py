"""A LangChain vector store on a late-interaction index."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore
from typing_extensions import Self

from colbert_rag import Hit, Index, InvalidArgumentError, InvalidQueryError, TextEncoder
from langchain_colbert_rag.adding import Addition
from langchain_colbert_rag.arguments import (
    check_encoder,
    check_names,
    check_path,
    check_sources,
    diversity_of,
    search_arguments,
)
from langchain_colbert_rag.documents import from_texts, to_langchain
from langchain_colbert_rag.filters import core_filter

__all__ = ["ColBERTVectorStore"]

OPENING = ("path", "encoder", "index", "lock_timeout_s")

# what a search takes beside the options of all searches
OWN = {
    "similarity_search_with_relevance_scores": ("score_threshold",),
    "asimilarity_search_with_relevance_scores": ("score_threshold",),
    "max_marginal_relevance_search": ("fetch_k", "lambda_mult"),
    "amax_marginal_relevance_search": ("fetch_k", "lambda_mult"),
}


class ColBERTVectorStore(VectorStore):
    """Documents in a folder, found by late interaction, by words, or by both.

    It takes an encoder of many vectors per text where other stores take an ``Embeddings``. Every search takes, by name:

    - ``filter``: a Mongo-style mapping such as ``{"year": {"$gte": 2020}}``, a condition of
      ``colbert_rag.filters``, or a callable that gets a LangChain ``Document``;
    - ``mode``: ``"maxsim"`` (late interaction), ``"bm25"`` (words) or ``"hybrid"`` (both);
    - ``config``: a ``colbert_rag.SearchConfig``.

    Async searches that run at the same time share one forward pass. An argument of another name is refused.

    Args:
        path: The folder of the index, which is opened, or created where there is none. None for a
            temporary folder that goes when the store is closed or goes itself.
        encoder: An encoder, the name or path of a late-interaction model, or None: the model of the
            index that is there, or the built-in model for a new one.
        index: An open ``colbert_rag.Index`` in place of the other arguments.
        lock_timeout_s: How long a write waits for another writer, in seconds; None for 30.

    Attributes:
        index: The ``colbert_rag.Index`` behind the store.

    Raises:
        InvalidArgumentError: a LangChain ``Embeddings``, an argument of another kind, or an index together
            with another argument.
        ModelMismatchError: another model than the index was built with.

    Example::

        store = ColBERTVectorStore("./handbook")
        store.add_texts(["The notice period is three months."], [{"year": 2024}])
        store.similarity_search("how long is the notice period?", k=1, filter={"year": {"$gte": 2020}})
    """

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        encoder: TextEncoder | str | None = None,
        *,
        index: Index | None = None,
        lock_timeout_s: float | None = None,
    ) -> None:
        check_sources(path, encoder, index, lock_timeout_s)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if index is None:
            if path is None:
                self._temporary = self._temporary_folder()
                path = Path(self._temporary.name) / "index"
            timeout_s = 30.0 if lock_timeout_s is None else lock_timeout_s
            index = Index.open_or_create(Path(path), encoder, lock_timeout_s=timeout_s)
        if self._temporary is not None:
            # of the finalizers the last one runs first: closed, then removed
            weakref.finalize(self, index.close)
        self.index = index

    @classmethod
    def open(cls, path: str | PathLike[str], encoder: TextEncoder | str | None = None) -> Self:
        """A store on the index in a folder; nothing is created.

        Args:
            path: The folder.
            encoder: The encoder that the index was built with, if it has no name to be found by.

        Raises:
            IndexNotFoundError: the folder is no index.
            InvalidArgumentError: the path is none, or the encoder is a LangChain ``Embeddings``.
        """
        check_path(path)
        check_encoder(encoder)
        return cls(index=Index.open(Path(path), encoder))

    def _temporary_folder(self) -> tempfile.TemporaryDirectory[str]:
        folder = tempfile.TemporaryDirectory(prefix="colbert-rag-", ignore_cleanup_errors=True)
        weakref.finalize(self, folder.cleanup)
        return folder

    def close(self) -> None:
        """Close the index, one that was passed in as well; a temporary folder goes."""
        self.index.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def embeddings(self) -> None:
        """None: there is no vector of a whole text."""
        return

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of the index, to be shared with a reranker."""
        return self.index.encoder

    @cached_property
    def model_name(self) -> str:
        """The name of the model that the index was built with, for traces; nothing is loaded."""
        return str(self.index.model.get("model") or "in memory")

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Any = None,
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open a store and add texts.

        Args:
            texts: Blank ones are left out with a warning.
            embedding: The encoder, in the place where LangChain passes it.
            metadatas: One for each text, None for none; what JSON can hold.
            ids: One for each text; None for a new one.
            kwargs: ``path``, ``encoder``, ``index`` and ``lock_timeout_s``, as the class takes them.

        Raises:
            InvalidArgumentError: an argument that the class does not take, or two encoders.
        """
        store = cls._opened("from_texts", embedding, kwargs)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def _opened(cls, call: str, embedding: Any, kwargs: dict[str, Any]) -> Self:
        check_names(f"{cls.__name__}.{call}", kwargs, OPENING)
        if embedding is not None and kwargs.get("encoder") is not None:
            msg = f"{cls.__name__}.{call} got both embedding and encoder; pass one of them."
            raise InvalidArgumentError(msg)
        return cls(**{**kwargs, "encoder": kwargs.get("encoder") if embedding is None else embedding})

    @classmethod
    async def afrom_texts(
        cls,
        texts: Iterable[str],
        embedding: Any = None,
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """:meth:`from_texts` in a thread."""
        return await run_in_executor(None, cls.from_texts, texts, embedding, metadatas, ids=ids, **kwargs)

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Any = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Open a store, as :meth:`from_texts` does, and add documents, as :meth:`add_documents` does."""
        store = cls._opened("from_documents", embedding, kwargs)
        store.add_documents(documents, ids=ids)
        return store

    @classmethod
    async def afrom_documents(
        cls,
        documents: Iterable[Document],
        embedding: Any = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> Self:
        """:meth:`from_documents` in a thread."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, ids=ids, **kwargs)

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **unknown: Any,
    ) -> list[str]:
        """Add documents, or replace those of the same id; one that is there unchanged is not encoded again.

        Blank documents, such as empty pages, are left out with a warning; what has the id of one already stays.

        Args:
            documents: With metadata that JSON can hold; they are not changed.
            ids: One for each document, ahead of the documents' own; where neither is given, a new one.
            batch_size: Documents per commit; None for all in one.
            unknown: None; the place where LangChain's interface passes options of other stores.

        Returns:
            The ids of those that were added, in the order of the documents.

        Raises:
            InvalidArgumentError: no list of documents, or no list of ids.
            InvalidDocumentError: a document is refused; nothing of its commit was written.
            DuplicateIdError: an id occurs twice.
        """
        check_names("ColBERTVectorStore.add_documents", unknown, ("documents", "ids", "batch_size"))
        addition = Addition.of(documents, ids)
        with addition.named_in_errors():
            self.index.upsert(addition.documents, commit_every=batch_size)
        return [document.id for document in addition.documents]

    async def aadd_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """:meth:`add_documents` in a thread."""
        return await run_in_executor(None, self.add_documents, documents, **kwargs)

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts with their metadata; see :meth:`add_documents`."""
        return self.add_documents(from_texts(texts, metadatas), ids=ids, **kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[dict[str, Any] | None] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """:meth:`add_texts` in a thread."""
        return await run_in_executor(None, self.add_texts, texts, metadatas, ids=ids, **kwargs)

    def delete(self, ids: Iterable[str] | None = None, **options: Any) -> bool:
        """Delete documents by id or by filter, or all of them where neither is given.

        Args:
            ids: Unknown ones are left out.
            options: ``filter``, in place of ids: see the class; ``{}`` is every document.

        Returns:
            True: none of them is there any more.

        Raises:
            InvalidArgumentError: ids together with a filter, a filter of None, or an option of another name.
            InvalidFilterError: the filter is refused.
        """
        check_names("ColBERTVectorStore.delete", options, ("ids", "filter"))
        if ids is None:
            self.index.delete(filter=core_filter(_filter_of(options)))
        elif options.get("filter") is None:
            self.index.delete(ids)
        else:
            msg = "ColBERTVectorStore.delete takes ids or a filter, one of them. Nothing was deleted."
            raise InvalidArgumentError(msg)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, in their order; unknown ids are left out."""
        return [to_langchain(document) for document in self.index.get_many(ids)]

    def similarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """The best documents, best first.

        Args:
            query: Not blank.
            k: How many.
            options: ``filter``, ``mode`` and ``config``: see the class.

        Raises:
            InvalidArgumentError: an option of another name.
            InvalidQueryError: the query, k or an option is refused.
        """
        return [to_langchain(hit) for hit in self._search("similarity_search", query, k, options)]

    async def asimilarity_search(self, query: str, k: int = 4, **options: Any) -> list[Document]:
        """:meth:`similarity_search` without blocking the event loop."""
        return [to_langchain(hit) for hit in await self._asearch("asimilarity_search", query, k, options)]

    def similarity_search_with_score(self, query: str, k: int = 4, **options: Any) -> list[tuple[Document, float]]:
        """The best documents with the score that they are ranked by; arguments as in :meth:`similarity_search`.

        The score is MaxSim, at most the number of query vectors; in the other modes, BM25 or the fused score.
        """
        hits = self._search("similarity_search_with_score", query, k, options)
        return [(to_langchain(hit), hit.score) for hit in hits]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """:meth:`similarity_search_with_score` without blocking the event loop."""
        hits = await self._asearch("asimilarity_search_with_score", query, k, options)
        return [(to_langchain(hit), hit.score) for hit in hits]

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Scores in ``[0, 1]``: MaxSim by the number of query vectors."""
        _check_has_relevance(options)
        hits = self._search("similarity_search_with_relevance_scores", query, k, options)
        return [(to_langchain(hit), hit.relevance) for hit in hits]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        _check_has_relevance(options)
        hits = await self._asearch("asimilarity_search_with_relevance_scores", query, k, options)
        return [(to_langchain(hit), hit.relevance) for hit in hits]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """Documents that answer the query and do not resemble each other; likeness is MaxSim of two documents.

        Args:
            query: Not blank.
            k: How many.
            fetch_k: The best documents to choose from.
            lambda_mult: 1 for relevance alone, 0 for the greatest diversity.
            options: As in :meth:`similarity_search`.

        Raises:
            InvalidArgumentError: lambda_mult is not a number from 0 to 1, or an option of another name.
            InvalidQueryError: the query, k, fetch_k or an option is refused.
        """
        call = "max_marginal_relevance_search"
        changes = {"diversity": diversity_of(f"ColBERTVectorStore.{call}", lambda_mult), "fetch_k": fetch_k}
        return [to_langchain(hit) for hit in self._search(call, query, k, options, **changes)]

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **options: Any
    ) -> list[Document]:
        """:meth:`max_marginal_relevance_search` without blocking the event loop."""
        call = "amax_marginal_relevance_search"
        changes = {"diversity": diversity_of(f"ColBERTVectorStore.{call}", lambda_mult), "fetch_k": fetch_k}
        return [to_langchain(hit) for hit in await self._asearch(call, query, k, options, **changes)]

    def _search(self, call: str, query: str, k: int, options: dict[str, Any], **changes: Any) -> list[Hit]:
        return self.index.search(query, k, **self._arguments(call, options, changes))

    async def _asearch(self, call: str, query: str, k: int, options: dict[str, Any], **changes: Any) -> list[Hit]:
        return await self.index.asearch(query, k, **self._arguments(call, options, changes))

    @staticmethod
    def _arguments(call: str, options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        # documents come back as they were added, so evidence would have no place
        return search_arguments(f"ColBERTVectorStore.{call}", options, OWN.get(call, ()), passages=0, **changes)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Refused: a query has a vector per token.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(_NO_VECTOR)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Refused: a query has a vector per token.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(_NO_VECTOR)

    def __repr__(self) -> str:
        return f"ColBERTVectorStore({str(self.index.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._temporary is not None:
            msg = "This ColBERTVectorStore has a temporary folder and cannot be pickled. Make it with path= a folder."
            raise TypeError(msg)
        return partial(type(self), index=self.index), ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


_NO_VECTOR = (
    "ColBERTVectorStore cannot search by one vector: a query has a vector per token. Search with its text, or call "
    "store.index.search_vectors with a (Q, D) array."
)


def _filter_of(options: dict[str, Any]) -> Any:
    chosen = options.get("filter", {})
    if chosen is None:
        # a filter that somebody forgot to make
        msg = (
            "ColBERTVectorStore.delete got filter=None and no ids. To delete every document, call delete() or pass "
            "filter={}. Nothing was deleted."
        )
        raise InvalidArgumentError(msg)
    return chosen


def _check_has_relevance(options: dict[str, Any]) -> None:
    if options.get("mode") == "bm25":
        msg = (
            'mode="bm25" computes no MaxSim, so it has no relevance from 0 to 1. Use mode "maxsim" or "hybrid", or '
            "similarity_search_with_score."
        )
        raise InvalidQueryError(msg)
