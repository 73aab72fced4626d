"""A LlamaIndex vector store on a late-interaction index."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from typing_extensions import Self

from colbert_rag import Hit, Index, InvalidArgumentError, InvalidDocumentError, TextEncoder, filters
from llama_index_colbert_rag.arguments import check_names, check_type, id_list
from llama_index_colbert_rag.filters import condition_of, from_sources
from llama_index_colbert_rag.naming import named_by_place
from llama_index_colbert_rag.nodes import to_document, to_node
from llama_index_colbert_rag.search import SearchTerms, query_text

__all__ = ["ColBERTVectorStore"]


class ColBERTVectorStore(BasePydanticVectorStore):
    """Nodes in a folder, found by late interaction, by words, or by both.

    It makes the vectors itself, one for every token, so nodes need no embedding. What is added is on disk when the
    call returns; there is nothing to persist. No async method blocks the event loop, and searches that run at the
    same time share one forward pass. ``close`` it, or use it in ``with``, to free files and threads at once.

    Nodes come back as what they were: ``TextNode``, ``Node``, ``IndexNode``, ``ImageNode``, ``Document`` and
    ``ImageDocument``. A class of your own that is derived from them comes back as a ``TextNode``, without the fields
    that it added.

    Args:
        path: The folder of the index, which is opened, or created where there is none. None for a
            temporary folder that goes when the store and its index go.
        encoder: An encoder, the name or path of a late-interaction model, or None: the model of the
            index that is there, or the built-in model for a new one.
        index: An open ``colbert_rag.Index`` in place of ``path`` and ``encoder``.
        lock_timeout_s: How long a write waits for another writer, in seconds.

    Attributes:
        path: The folder.

    Raises:
        InvalidArgumentError: an index together with a path or an encoder, or something else in its place.
        ModelMismatchError: another model than the index was built with.

    Example::

        store = ColBERTVectorStore("./handbook")
        store.add([TextNode(text="The notice period is three months.")])
        store.query(VectorStoreQuery(query_str="how long is the notice period?", similarity_top_k=1))
    """

    stores_text: bool = True
    is_embedding_query: bool = False
    path: str

    _index: Index = PrivateAttr()
    _remove_folder: Callable[[], object] | None = PrivateAttr()

    def __init__(
        self,
        path: str | PathLike[str] | None = None,
        encoder: TextEncoder | str | None = None,
        *,
        index: Index | None = None,
        lock_timeout_s: float = 30.0,
    ) -> None:
        if index is not None and not (path is None and encoder is None):
            msg = "ColBERTVectorStore takes an index, or a path and an encoder: an open index has both already."
            raise InvalidArgumentError(msg)
        remove_folder: Callable[[], object] | None = None
        if index is not None:
            check_type("ColBERTVectorStore: index", index, Index)
            opened = index
        elif path is None:
            opened, remove_folder = _temporary_index(encoder, lock_timeout_s)
        else:
            opened = Index.open_or_create(Path(path), encoder, lock_timeout_s=lock_timeout_s)
        fields: dict[str, Any] = {"path": str(opened.path)}
        super().__init__(**fields)
        self._index = opened
        self._remove_folder = remove_folder

    @classmethod
    def open(cls, path: str | PathLike[str], encoder: TextEncoder | str | None = None) -> Self:
        """A store on the index in a folder; nothing is created.

        Args:
            path: The folder.
            encoder: The encoder that the index was built with, if it has no name to be found by.

        Raises:
            IndexNotFoundError: the folder is no index.
        """
        return cls(index=Index.open(Path(path), encoder))

    @classmethod
    def class_name(cls) -> str:
        """The name in serialised form."""
        return "ColBERTVectorStore"

    @property
    def client(self) -> Index:
        """The ``colbert_rag.Index`` behind the store."""
        return self._index

    @property
    def encoder(self) -> TextEncoder:
        """The encoder of the index, to be shared with a reranker."""
        return self._index.encoder

    def close(self) -> None:
        """Free files and threads of the index behind the store; safe to call twice. A temporary folder goes."""
        self._index.close()
        if self._remove_folder is not None:
            self._remove_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def add(self, nodes: Sequence[BaseNode], *, replacing: Sequence[str] | None = None, **unknown: Any) -> list[str]:
        """Add nodes, all or none; a node whose id is known replaces the old one.

        Args:
            nodes: With text or metadata to be found by; their embeddings are not looked at.
            replacing: Ids of source documents of which these are the nodes from now on: those that the store holds
                go in the same step.
            unknown: None.

        Returns:
            Their ids.

        Raises:
            InvalidDocumentError: a node has nothing to be found by, or metadata that JSON cannot hold.
        """
        check_names("ColBERTVectorStore.add", unknown, ("nodes", "replacing"))
        replaced = None if replacing is None else from_sources(replacing)
        with named_by_place(nodes):
            self._index.upsert([to_document(node) for node in nodes], replacing=replaced)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **unknown: Any) -> list[str]:
        """:meth:`add` in a thread."""
        return await asyncio.to_thread(self.add, nodes, **unknown)

    def delete(self, ref_doc_id: str, **unknown: Any) -> None:
        """Delete the nodes of a source document, or the node of that id that is its own source."""
        check_names("ColBERTVectorStore.delete", unknown, ("ref_doc_id",))
        self._index.delete(filter=from_sources([ref_doc_id]))

    async def adelete(self, ref_doc_id: str, **unknown: Any) -> None:
        """:meth:`delete` in a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **unknown)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **unknown: Any
    ) -> None:
        """Delete nodes; unknown ids are left out.

        Args:
            node_ids: Ids; an empty list deletes nothing.
            filters: Of these nodes, or of all where there are no ids, those that match.
            unknown: None.

        Raises:
            InvalidDocumentError: neither is given, which would mean every node.
        """
        check_names("ColBERTVectorStore.delete_nodes", unknown, ("node_ids", "filters"))
        if node_ids is None and not (filters and filters.filters):
            msg = "delete_nodes() takes node_ids, filters or both; clear() deletes every node."
            raise InvalidDocumentError(msg)
        if filters is None:
            self._index.delete(node_ids)
        else:
            self._index.delete(filter=_matching(node_ids, filters))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **unknown: Any
    ) -> None:
        """:meth:`delete_nodes` in a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **unknown)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes by id, in the order of the ids, unknown ones left out; or by filter, by rising id; or all."""
        if node_ids is not None and filters is None:
            return [to_node(document) for document in self._index.get_many(node_ids)]
        chosen = None if filters is None else _matching(node_ids, filters)
        return [to_node(document) for document in self._index.find(chosen)]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """:meth:`get_nodes` in a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def clear(self) -> None:
        """Delete every node."""
        self._index.delete(filter={})

    async def aclear(self) -> None:
        """:meth:`clear` in a thread."""
        await asyncio.to_thread(self.clear)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """The best nodes, best first.

        Modes: ``default`` is late interaction, ``sparse`` and ``text_search`` are BM25, ``hybrid`` is both (with
        ``alpha`` the share of late interaction in the score, 0.7 without it), ``mmr`` is late
        interaction with diversity. Empty ``node_ids`` and ``doc_ids`` restrict nothing.

        Similarities are what the nodes are ranked by: for late interaction MaxSim by the number of query vectors, 0
        to 1, else BM25 or the fused score.

        Args:
            query: With ``query_str``; an embedding is not looked at.
            options: ``mmr_threshold``, where the query has none.

        Raises:
            InvalidQueryError: an embedding only, or a mode or an option that has no counterpart.
            InvalidFilterError: the filters are refused.
        """
        text, terms = query_text(query), _terms(query, options)
        hits = self._index.search(text, terms.k, mode=terms.mode, filter=terms.filter, config=terms.config)
        return _result(hits, terms)

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """:meth:`query` without blocking the event loop."""
        text, terms = query_text(query), _terms(query, options)
        hits = await self._index.asearch(text, terms.k, mode=terms.mode, filter=terms.filter, config=terms.config)
        return _result(hits, terms)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Nothing is left to be done: what was added is in the folder of the index already."""

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """The path; :meth:`from_dict` opens it again, and the index finds its model by name.

        Raises:
            TypeError: the folder is temporary.
        """
        self._check_lasts()
        return super().to_dict(**kwargs)

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Open the folder of :meth:`to_dict`.

        Args:
            data: What :meth:`to_dict` gave.
            kwargs: ``encoder``, where the index was built with one that has no name to be found by.

        Raises:
            IndexNotFoundError: the index is not there any more.
        """
        check_names("ColBERTVectorStore.from_dict", kwargs, ("encoder",))
        return cls.open(data["path"], **kwargs)

    def _check_lasts(self) -> None:
        if self._remove_folder is not None:
            msg = "This ColBERTVectorStore has a temporary folder and cannot be kept. Make it with path= a folder."
            raise TypeError(msg)

    def __reduce__(self) -> tuple[Any, ...]:
        # LlamaIndex would drop what cannot be pickled and open the store with another encoder
        self._check_lasts()
        return partial(type(self), index=self._index), ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self


def _temporary_index(encoder: TextEncoder | str | None, lock_timeout_s: float) -> tuple[Index, Callable[[], object]]:
    folder = Path(tempfile.mkdtemp(prefix="colbert-rag-"))
    try:
        index = Index.open_or_create(folder / "index", encoder, lock_timeout_s=lock_timeout_s)
    except BaseException:
        shutil.rmtree(folder)
        raise
    # bound to the index, which a caller may hold longer than the store
    return index, weakref.finalize(index, shutil.rmtree, folder, ignore_errors=True)


def _matching(node_ids: Sequence[str] | None, given: MetadataFilters) -> filters.Condition:
    chosen = condition_of(given)
    wanted = id_list("node_ids", node_ids)
    return chosen if wanted is None else filters.And((filters.HasId(tuple(wanted)), chosen))


def _terms(query: VectorStoreQuery, options: dict[str, Any]) -> SearchTerms:
    check_names("ColBERTVectorStore.query", options, ("mmr_threshold",))
    if query.mmr_threshold is None and options:
        query = replace(query, **options)
    return SearchTerms.of(query)


def _result(hits: Sequence[Hit], terms: SearchTerms) -> VectorStoreQueryResult:
    return VectorStoreQueryResult(
        nodes=[to_node(hit) for hit in hits],
        similarities=[terms.score_of(hit) for hit in hits],
        ids=[hit.id for hit in hits],
    )
