"""Documents of LangChain from documents and hits of the core, and the reverse."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

from langchain_core.documents import Document

from colbert_rag import Document as CoreDocument
from colbert_rag import Hit, InvalidArgumentError, InvalidDocumentError, Passage

__all__ = ["evidence", "from_texts", "passage_entries", "to_core", "to_langchain", "with_evidence"]

# names that evidence has for itself in metadata
RESERVED = ("relevance_score", "passages", "passages_left_out")


def from_texts(texts: Iterable[str], metadatas: Iterable[dict[str, Any]] | None) -> list[Document]:
    """One document of each text.

    Raises:
        InvalidDocumentError: a text alone, or another number of metadatas than of texts.
    """
    if isinstance(texts, str):
        msg = "texts must be a list of str; wrap one text in a list."
        raise InvalidDocumentError(msg)
    found = list(texts)
    given = [{} for _ in found] if metadatas is None else list(metadatas)
    if len(given) != len(found):
        msg = f"{len(given)} metadatas for {len(found)} texts; give one for each. Nothing was written."
        raise InvalidDocumentError(msg)
    return [Document(page_content=text, metadata=metadata) for text, metadata in zip(found, given, strict=True)]


def to_core(documents: Iterable[Document], ids: Sequence[str | None] | None) -> list[CoreDocument]:
    """Documents as the core takes them; an id is that of ``ids``, else the document's own, else a new one.

    Raises:
        InvalidArgumentError: no list of documents, or no list of ids.
        InvalidDocumentError: another number of ids than of documents.
    """
    if isinstance(ids, str) or not (ids is None or isinstance(ids, Iterable)):
        msg = f"ids must be a list of str, one for each document, found {type(ids).__name__}. Nothing was written."
        raise InvalidArgumentError(msg)
    found = _listed(documents)
    given = [None] * len(found) if ids is None else list(ids)
    if len(given) != len(found):
        msg = f"{len(given)} ids for {len(found)} documents; give one for each. Nothing was written."
        raise InvalidDocumentError(msg)
    return [
        CoreDocument(_first(given_id, document.id), document.page_content, document.metadata)
        for given_id, document in zip(given, found, strict=True)
    ]


def _listed(documents: object) -> list[Document]:
    # one document is iterable as well: pydantic goes through its fields
    if isinstance(documents, Document | str) or not isinstance(documents, Iterable):
        msg = (
            f"documents must be a list of LangChain Document, found {type(documents).__name__}; wrap one document in a "
            "list. Nothing was written."
        )
        raise InvalidArgumentError(msg)
    found = list(documents)
    for n, document in enumerate(found):
        if not isinstance(document, Document):
            msg = (
                f"document number {n} must be a LangChain Document, found {type(document).__name__}; texts go to "
                "add_texts. Nothing was written."
            )
            raise InvalidArgumentError(msg)
    return found


def _first(given: str | None, own: str | None) -> str:
    """An empty id is left to the core, which refuses it."""
    chosen = own if given is None else given
    return str(uuid.uuid4()) if chosen is None else chosen


def to_langchain(found: CoreDocument | Hit) -> Document:
    """Text, metadata and id; no score, so that what was added comes back equal."""
    # callers that shared a pass may have got the same objects
    return Document(id=found.id, page_content=found.text, metadata=deepcopy(dict(found.metadata)))


def evidence(relevance: float | None, passages: Iterable[Passage]) -> dict[str, Any]:
    """What a retriever and a reranker add to metadata: numbers and strings that JSON can hold.

    Args:
        relevance: In ``[0, 1]``; None where no MaxSim was computed, and nothing is said then.
        passages: Evidence, best first.
    """
    score = {} if relevance is None else {"relevance_score": relevance}
    return {**score, "passages": passage_entries(passages)}


def passage_entries(passages: Iterable[Passage]) -> list[dict[str, Any]]:
    """Passages as metadata holds them."""
    return [{"start": p.start, "end": p.end, "text": p.text, "score": p.score} for p in passages]


def with_evidence(document: Document, relevance: float | None, passages: Iterable[Passage]) -> Document:
    """A copy of a document with :func:`evidence` in its metadata; the document itself stays as it is.

    Entries of its own under the names of evidence are left out, so that none is taken for evidence.
    """
    own = {name: value for name, value in document.metadata.items() if name not in RESERVED}
    return document.model_copy(update={"metadata": {**own, **evidence(relevance, passages)}})
