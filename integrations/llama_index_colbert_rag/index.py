"""A LlamaIndex index on the folder of a late-interaction index."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Any, cast

from llama_index.core import MockEmbedding, Settings, StorageContext, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import BaseChatEngine, ChatMode
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.data_structs import IndexDict
from llama_index.core.ingestion import run_transformations
from llama_index.core.llms import LLM
from llama_index.core.llms.utils import LLMType, resolve_llm
from llama_index.core.schema import BaseNode, IndexNode, TransformComponent
from llama_index.core.schema import Document as LlamaDocument
from llama_index.core.storage.docstore.types import RefDocInfo
from llama_index.core.utils import get_tqdm_iterable
from llama_index.core.vector_stores.types import BasePydanticVectorStore, MetadataFilters, VectorStoreQueryMode
from typing_extensions import Self

from colbert_rag import InvalidArgumentError, TextEncoder
from llama_index_colbert_rag.arguments import check_documents, check_names
from llama_index_colbert_rag.engines import chat_engine, names_of, query_engine
from llama_index_colbert_rag.refreshing import HeldNodes, transformation_options
from llama_index_colbert_rag.retriever import ColBERTRetriever
from llama_index_colbert_rag.sources import hashes, with_sources, with_text
from llama_index_colbert_rag.transforming import atransformed
from llama_index_colbert_rag.vectorstore import ColBERTVectorStore

__all__ = ["ColBERTIndex"]


class ColBERTIndex(VectorStoreIndex):
    """A ``VectorStoreIndex`` of a :class:`ColBERTVectorStore`: it needs no embedding model.

    Everything it knows is in the folder: nodes, vectors, and the hash of the document that each node was cut from,
    so ``refresh_ref_docs`` changes only what changed, after :meth:`load` too. ``docstore`` stays empty and there is
    nothing to persist. An LLM is asked for by engines only.

    Args:
        nodes: Nodes to begin with.
        path: As in :class:`ColBERTVectorStore`.
        encoder: As in :class:`ColBERTVectorStore`.
        storage_context: In place of ``path`` and ``encoder``, one whose vector store is a ``ColBERTVectorStore``.
        objects: Nodes that lead to other retrievers or engines.
        transformations: What cuts documents into nodes; None for ``Settings.transformations``, which split
            them; ``[]`` keeps each document whole, of any length.
        callback_manager: None for ``Settings.callback_manager``.
        show_progress: Show the progress of transformations.
        unknown: None.

    Raises:
        InvalidArgumentError: an argument of another name, such as ``embed_model``, or another vector store.

    Example::

        index = ColBERTIndex.from_documents(documents, path="./handbook")
        index.as_query_engine(llm=llm, similarity_top_k=5).query("how long is the notice period?")
    """

    def __init__(
        self,
        nodes: Sequence[BaseNode] | None = None,
        *,
        path: str | PathLike[str] | None = None,
        encoder: TextEncoder | str | None = None,
        storage_context: StorageContext | None = None,
        objects: Sequence[IndexNode] | None = None,
        transformations: list[TransformComponent] | None = None,
        callback_manager: CallbackManager | None = None,
        show_progress: bool = False,
        **unknown: Any,
    ) -> None:
        check_names("ColBERTIndex", unknown, names_of(ColBERTIndex))
        super().__init__(
            nodes=list(nodes or []),
            embed_model=MockEmbedding(embed_dim=1),
            storage_context=_storage(storage_context, path, encoder),
            objects=list(objects or []),
            transformations=transformations,
            callback_manager=callback_manager,
            show_progress=show_progress,
        )
        if transformations is not None:
            # VectorStoreIndex takes an empty list for none
            self._transformations = transformations

    @classmethod
    def from_documents(
        cls,
        documents: Sequence[LlamaDocument],
        storage_context: StorageContext | None = None,
        show_progress: bool = False,
        callback_manager: CallbackManager | None = None,
        transformations: list[TransformComponent] | None = None,
        **options: Any,
    ) -> Self:
        """Open or create an index and refresh it with documents.

        What the folder holds already stays: documents that have not changed are not encoded again.

        Args:
            documents: To be found.
            storage_context: As the class takes it.
            show_progress: As the class takes it.
            callback_manager: As the class takes it.
            transformations: As the class takes them.
            options: ``path`` and ``encoder``, as the class takes them.
        """
        index = cls(
            storage_context=storage_context,
            show_progress=show_progress,
            callback_manager=callback_manager,
            transformations=transformations,
            **options,
        )
        index.refresh_ref_docs(documents)
        return index

    @classmethod
    def from_vector_store(cls, vector_store: BasePydanticVectorStore, embed_model: Any = None, **options: Any) -> Self:
        """An index on a store.

        Args:
            vector_store: A ``ColBERTVectorStore``.
            embed_model: None.
            options: ``transformations``, ``callback_manager`` and ``show_progress``, as the class takes them.

        Raises:
            InvalidArgumentError: another store, or an ``embed_model``.
        """
        if embed_model is not None:
            options["embed_model"] = embed_model
        return cls(storage_context=StorageContext.from_defaults(vector_store=vector_store), **options)

    @classmethod
    def load(cls, path: str | PathLike[str], encoder: TextEncoder | str | None = None, **options: Any) -> Self:
        """Open the index in a folder, whoever made it: this class, LangChain's store, or the core.

        Args:
            path: The folder.
            encoder: The encoder that the index was built with, if it has no name to be found by.
            options: ``transformations``, ``callback_manager`` and ``show_progress``, as the class takes them.

        Raises:
            IndexNotFoundError: the folder is no index.
        """
        return cls.from_vector_store(ColBERTVectorStore.open(path, encoder), **options)

    @property
    def vector_store(self) -> ColBERTVectorStore:
        """The store behind the index."""
        return cast("ColBERTVectorStore", self._vector_store)

    def as_retriever(
        self,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        *,
        filters: MetadataFilters | None = None,
        node_ids: Sequence[str] | None = None,
        doc_ids: Sequence[str] | None = None,
        mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT,
        vector_store_query_mode: VectorStoreQueryMode | str | None = None,
        alpha: float | None = None,
        mmr_threshold: float | None = None,
        passages: int = 1,
        passage_sentences: int = 1,
        locality: float = 0.0,
        object_map: dict[str, Any] | None = None,
        verbose: bool = False,
        **unknown: Any,
    ) -> ColBERTRetriever:
        """A retriever on this index; arguments as :class:`ColBERTRetriever` takes them.

        Args:
            similarity_top_k: How many nodes.
            filters: Which nodes may be found.
            node_ids: Only these nodes.
            doc_ids: Only nodes of these source documents.
            mode: What to rank by.
            vector_store_query_mode: LlamaIndex's name of ``mode``.
            alpha: The share of late interaction in mode ``hybrid``.
            mmr_threshold: The share of relevance in mode ``mmr``.
            passages: Evidence passages per node.
            passage_sentences: Sentences in a row that make a passage.
            locality: The share of its best place in the score of a long node.
            object_map: What ``IndexNode`` leads to, by ``index_id``, beside what the index knows.
            verbose: Print what recursive retrieval does.
            unknown: None.

        Raises:
            InvalidArgumentError: an argument of another name, such as one of an engine.
            InvalidQueryError: a mode or an option that has no counterpart, or that the mode has no use for.
            InvalidFilterError: the filters are refused.
        """
        check_names("as_retriever", unknown, names_of(self.as_retriever))
        return ColBERTRetriever(
            self.vector_store,
            similarity_top_k,
            filters=filters,
            node_ids=node_ids,
            doc_ids=doc_ids,
            mode=mode if vector_store_query_mode is None else vector_store_query_mode,
            alpha=alpha,
            mmr_threshold=mmr_threshold,
            passages=passages,
            passage_sentences=passage_sentences,
            locality=locality,
            callback_manager=self._callback_manager,
            object_map=self._object_map if object_map is None else {**self._object_map, **object_map},
            verbose=verbose,
        )

    def as_query_engine(
        self, llm: LLMType | None = None, *, context_tokens: int | None = None, **options: Any
    ) -> BaseQueryEngine:
        """A query engine on a new retriever.

        Args:
            llm: What answers; None for ``Settings.llm``.
            context_tokens: Give the LLM the evidence alone, within that many tokens: an :class:`EvidenceContext` after
                the other ``node_postprocessors``, and where ``passages`` is not given, as many as may fill it. None
                for whole nodes.
            options: Of :meth:`as_retriever` and of ``RetrieverQueryEngine.from_args``.

        Raises:
            InvalidArgumentError: an option that neither of them takes.
        """
        return query_engine(self.as_retriever, partial(self._llm, llm), options, context_tokens)

    def as_chat_engine(
        self,
        chat_mode: ChatMode = ChatMode.BEST,
        llm: LLMType | None = None,
        *,
        context_tokens: int | None = None,
        **options: Any,
    ) -> BaseChatEngine:
        """A chat engine on a new retriever.

        Args:
            chat_mode: How a question is made of a chat; ``react`` and ``openai`` are gone from LlamaIndex.
            llm: What answers; None for ``Settings.llm``.
            context_tokens: As :meth:`as_query_engine` takes it.
            options: Of :meth:`as_retriever` and of ``from_defaults`` of the engine that the mode names.

        Raises:
            InvalidArgumentError: an option that neither of them takes.
        """
        return chat_engine(self.as_retriever, chat_mode, partial(self._llm, llm), options, context_tokens)

    def _llm(self, given: LLMType | None) -> LLM:
        return resolve_llm(given, callback_manager=self._callback_manager) if given else Settings.llm

    def close(self) -> None:
        """Free files and threads; safe to call twice. A temporary folder goes."""
        self.vector_store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def insert(self, document: LlamaDocument, **insert_kwargs: Any) -> None:
        """Add the nodes of a document; :meth:`update_ref_doc` replaces those that are there."""
        check_documents("insert", [document])
        with self._callback_manager.as_trace("insert"):
            self.insert_nodes(self._nodes_of([document], **insert_kwargs))

    async def ainsert(self, document: LlamaDocument, **insert_kwargs: Any) -> None:
        """:meth:`insert`; transformations and writing do not hold up the event loop."""
        check_documents("ainsert", [document])
        with self._callback_manager.as_trace("ainsert"):
            await self.ainsert_nodes(await self._anodes_of([document], **insert_kwargs))

    def update_ref_doc(self, document: LlamaDocument, **update_kwargs: Any) -> None:
        """Replace the nodes of a document, in one step: a search sees the old ones or the new ones.

        Args:
            document: Known or new.
            update_kwargs: ``insert_kwargs`` for transformations; ``delete_kwargs`` have nothing to say here.
        """
        check_documents("update_ref_doc", [document])
        with self._callback_manager.as_trace("update_ref_doc"):
            self._replace([document], **transformation_options(update_kwargs))

    async def aupdate_ref_doc(self, document: LlamaDocument, **update_kwargs: Any) -> None:
        """:meth:`update_ref_doc`; transformations and writing do not hold up the event loop."""
        check_documents("aupdate_ref_doc", [document])
        with self._callback_manager.as_trace("aupdate_ref_doc"):
            await self._areplace([document], **transformation_options(update_kwargs))

    def refresh_ref_docs(self, documents: Sequence[LlamaDocument], **update_kwargs: Any) -> list[bool]:
        """Add documents that are new and replace those whose text or metadata changed; leave the others alone.

        Documents are known by their ids. Other transformations than before are not noticed: ``update_ref_doc`` cuts
        a document again.

        Args:
            documents: Others that the index holds stay.
            update_kwargs: ``insert_kwargs`` for transformations; ``update_kwargs`` have nothing to say here.

        Returns:
            For each document whether it was written.
        """
        with self._callback_manager.as_trace("refresh_ref_docs"):
            held = self._held(documents)
            # before the transformations, which may change documents in place
            written = [held.is_changed(document) for document in documents]
            self._replace(held.changed(documents), **transformation_options(update_kwargs))
            return written

    async def arefresh_ref_docs(self, documents: Sequence[LlamaDocument], **update_kwargs: Any) -> list[bool]:
        """:meth:`refresh_ref_docs`; transformations and writing do not hold up the event loop."""
        with self._callback_manager.as_trace("arefresh_ref_docs"):
            held = await asyncio.to_thread(self._held, documents)
            # hashing reads every text
            written = await asyncio.to_thread(lambda: [held.is_changed(document) for document in documents])
            changed = await asyncio.to_thread(held.changed, documents)
            await self._areplace(changed, **transformation_options(update_kwargs))
            return written

    @property
    def ref_doc_info(self) -> dict[str, RefDocInfo]:
        """The node ids of every source document, and the metadata of the first node."""
        found: dict[str, RefDocInfo] = {}
        for document in self.vector_store.client.find():
            if document.ref_id is not None:
                info = found.setdefault(document.ref_id, RefDocInfo(metadata=dict(document.metadata)))
                info.node_ids.append(document.id)
        return found

    def _held(self, documents: Sequence[LlamaDocument]) -> HeldNodes:
        check_documents("refresh_ref_docs", documents)
        return HeldNodes.of(documents, self.vector_store.client)

    def _replace(self, documents: Sequence[LlamaDocument], **options: Any) -> None:
        if documents:
            ids = [document.id_ for document in documents]
            self.insert_nodes(self._nodes_of(documents, **options), replacing=ids)

    async def _areplace(self, documents: Sequence[LlamaDocument], **options: Any) -> None:
        if documents:
            ids = [document.id_ for document in documents]
            await self.ainsert_nodes(await self._anodes_of(documents, **options), replacing=ids)

    def _nodes_of(self, documents: Sequence[LlamaDocument], **options: Any) -> list[BaseNode]:
        known = hashes(documents)
        nodes = run_transformations(
            list(documents), self._transformations, show_progress=self._show_progress, **options
        )
        return with_text(with_sources(nodes, known))

    async def _anodes_of(self, documents: Sequence[LlamaDocument], **options: Any) -> list[BaseNode]:
        known = await asyncio.to_thread(hashes, documents)
        nodes: Sequence[BaseNode] = list(documents)
        for transformation in get_tqdm_iterable(self._transformations, self._show_progress, "Applying transformations"):
            nodes = await atransformed(transformation, nodes, **options)
        return await asyncio.to_thread(lambda: with_text(with_sources(nodes, known)))

    def _build_index_from_nodes(self, nodes: Sequence[BaseNode], **unknown: Any) -> IndexDict:
        self._validate_serializable(nodes)
        return super()._build_index_from_nodes(nodes, **unknown)

    # VectorStoreIndex would embed the nodes, and keep a second copy of some in the docstore
    def _add_nodes_to_index(
        self, index_struct: IndexDict, nodes: Sequence[BaseNode], show_progress: bool = False, **unknown: Any
    ) -> None:
        self.vector_store.add(nodes, **unknown)

    async def _async_add_nodes_to_index(
        self, index_struct: IndexDict, nodes: Sequence[BaseNode], show_progress: bool = False, **unknown: Any
    ) -> None:
        await self.vector_store.async_add(nodes, **unknown)


def _storage(
    given: StorageContext | None, path: str | PathLike[str] | None, encoder: TextEncoder | str | None
) -> StorageContext:
    if given is None:
        return StorageContext.from_defaults(vector_store=ColBERTVectorStore(path, encoder))
    if path is not None or encoder is not None:
        msg = "ColBERTIndex takes a storage_context, or a path and an encoder: its vector store has both already."
        raise InvalidArgumentError(msg)
    if not isinstance(given.vector_store, ColBERTVectorStore):
        found = type(given.vector_store).__name__
        msg = f"ColBERTIndex needs a storage_context whose vector_store is a ColBERTVectorStore, found {found}."
        raise InvalidArgumentError(msg)
    return given
