"""A LangChain retriever that shows its evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from os import PathLike
from typing import Annotated, Any

import numpy as np
from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from langchain_core.runnables import RunnableConfig, run_in_executor
from langchain_core.runnables.config import get_config_list
from pydantic import BeforeValidator, ConfigDict, Field
from typing_extensions import Self

from colbert_rag import ColbertRagError, Encoder, Hit, Mode, SearchConfig, TextEncoder, passages_to_fill
from langchain_colbert_rag.arguments import check_names, search_arguments
from langchain_colbert_rag.context import Found, shown
from langchain_colbert_rag.documents import to_langchain
from langchain_colbert_rag.vectorstore import ColBERTVectorStore

__all__ = ["ColBERTRetriever"]

PER_CALL = ("k", "filter", "mode", "passages", "passage_sentences", "context_tokens")

# an encoder keeps the vectors of that many queries
BATCH = 256


def _plain_int(value: Any) -> Any:
    """NumPy's integers as the core takes them; anything else is left to pydantic."""
    return int(value) if isinstance(value, np.integer) else value


class ColBERTRetriever(BaseRetriever):
    """Finds documents by late interaction, by words, or by both, and says how well and where.

    Every document found is a new one, with two more entries in its metadata:

    - ``relevance_score``: MaxSim by the number of query vectors, a float in ``[0, 1]``, comparable
      between queries; left out in mode "bm25", which computes no MaxSim;
    - ``passages``: the best places in the text, each ``{"start", "end", "text", "score"}``: character
      offsets in ``page_content``, and MaxSim of the query with the passage alone, or in mode "bm25" the
      number of query words in the passage.

    With ``context_tokens``, ``page_content`` is the evidence alone: the best passages of all documents that fit in
    that many tokens together, each whole, those of one document in text order. ``passages`` are the ones that it is
    made of, with offsets in the whole text; ``passages_left_out`` are those of the document that did not fit; ``id``
    is that of the whole document, which the store gives. A document of which nothing fits is left out, and so is
    said to the log, at level INFO.

    The three names are reserved: stored metadata of the same name is left out of what is returned.

    ``k``, ``filter``, ``mode``, ``passages``, ``passage_sentences`` and ``context_tokens`` can be given here, in
    each call (``retriever.invoke(query, k=3)``), and as configurable fields. None in a call stands for what was
    given here; ``filter={}`` in a call lifts the filter. An argument of another name is an error, but for
    ``verbose``, which LangChain reads itself.

    Attributes:
        store: Where the documents are.
        k: How many documents, at least 1; mode "bm25" finds only those that hold a word of the query.
        filter: As :class:`ColBERTVectorStore` takes it.
        mode: ``"maxsim"``, ``"bm25"`` or ``"hybrid"``.
        passages: Evidence passages per document; None for those of ``config``, which are 1 by default, or with
            ``context_tokens`` for as many as may fill it.
        passage_sentences: Sentences in a row that make a passage; None for those of ``config``, 1 by default.
        context_tokens: The tokens that ``page_content`` of all documents may take; None for whole documents.
        count_tokens: How many tokens a text has, such as ``llm.get_num_tokens``; None for an estimate.
        config: How hard a search tries.

    Example::

        retriever = ColBERTRetriever.open("./handbook", k=3)
        retriever.invoke("how long is the notice period?", filter={"year": 2024})
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", validate_assignment=True)

    store: ColBERTVectorStore
    k: Annotated[int, BeforeValidator(_plain_int)] = Field(default=4, ge=1, strict=True)
    filter: Any = None
    mode: Mode = "maxsim"
    passages: int | None = None
    passage_sentences: int | None = None
    context_tokens: int | None = Field(default=None, ge=1, strict=True)
    count_tokens: Callable[[str], int] | None = None
    config: SearchConfig = SearchConfig()

    @classmethod
    def open(cls, path: str | PathLike[str], encoder: TextEncoder | str | None = None, **fields: Any) -> Self:
        """A retriever on the index in a folder.

        Args:
            path: The folder.
            encoder: The encoder that the index was built with, if it has no name to be found by.
            fields: The other fields.

        Raises:
            IndexNotFoundError: the folder is no index.
        """
        return cls(store=ColBERTVectorStore.open(path, encoder), **fields)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        context_tokens, arguments = self._arguments(call)
        return self._shown(self.store.index.search(query, **arguments), arguments["mode"], context_tokens)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **call: Any
    ) -> list[Document]:
        context_tokens, arguments = self._arguments(call)
        hits = await self.store.index.asearch(query, **arguments)
        if context_tokens is None:
            return self._shown(hits, arguments["mode"], None)
        # a tokeniser of the user's may take its time
        return await run_in_executor(None, self._shown, hits, arguments["mode"], context_tokens)

    def _shown(self, hits: Sequence[Hit], mode: str, context_tokens: int | None) -> list[Document]:
        found = [Found(to_langchain(hit), None if mode == "bm25" else hit.relevance, hit.passages) for hit in hits]
        return shown(found, context_tokens, self.count_tokens)

    def _arguments(self, call: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
        """The budget and what the index is asked, from the fields and what one call gives in their place."""
        check_names("ColBERTRetriever.invoke", call, PER_CALL)
        chosen = {name: getattr(self, name) if call.get(name) is None else call[name] for name in PER_CALL}
        k, context_tokens = chosen.pop("k"), chosen.pop("context_tokens")
        fields = {name: chosen.pop(name) for name in ("passages", "passage_sentences")}
        if context_tokens is not None:
            sentences = fields["passage_sentences"]
            sentences = self.config.passage_sentences if sentences is None else sentences
            fields["passages"] = passages_to_fill(context_tokens, sentences, fields["passages"])
        changes = {name: value for name, value in fields.items() if value is not None}
        arguments = search_arguments("ColBERTRetriever", {**chosen, "config": self.config}, **changes)
        return context_tokens, {"k": k, **arguments}

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[list[Document]]:
        """Find documents for several queries, which are encoded together; see ``Runnable.batch``."""
        configs, found = get_config_list(config, len(inputs)), []
        for start in range(0, len(inputs), BATCH):
            part = slice(start, start + BATCH)
            self._encode_ahead(inputs[part], kwargs)
            found += super().batch(inputs[part], configs[part], return_exceptions=return_exceptions, **kwargs)
        return found

    def _encode_ahead(self, queries: list[str], call: dict[str, Any]) -> None:
        if (call.get("mode") or self.mode) == "bm25":
            return
        # what is refused is reported by the call that it is refused to
        with suppress(ColbertRagError):
            encoder = self.store.encoder
            if isinstance(encoder, Encoder):  # others keep no vectors
                encoder.encode_queries(queries)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        # the encoder itself would be loaded here, in the event loop
        return LangSmithRetrieverParams(
            ls_retriever_name="colbert",
            ls_vector_store_provider="colbert_rag",
            ls_embedding_provider="colbert_rag",
            ls_embedding_model=self.store.model_name,
        )
