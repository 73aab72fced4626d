"""Documents of LangChain from documents and hits of the core, and the reverse."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from langchain_core.documents import Document

from colbert_rag import Document as CoreDocument
from colbert_rag import Hit, InvalidArgumentError, InvalidDocumentError, Passage

__all__ = ["evidence", "from_texts", "passage_entries", "to_langchain", "with_evidence"]

# names that evidence has for itself in metadata
RESERVED = ("relevance_score", "passages", "passages_left_out")


def from_texts(texts: Iterable[str], metadatas: Iterable[dict[str, Any] | None] | None) -> list[Document]:
    """One document of each text.

    Args:
        texts: One or more.
        metadatas: One for each text, None for none of its own; None for none at all.

    Raises:
        InvalidArgumentError: no list of texts, or a text or a metadata of another kind.
        InvalidDocumentError: a text alone, or another number of metadatas than of texts.
    """
    found = _listed(texts)
    given: list[Any] = [None] * len(found) if metadatas is None else list(metadatas)
    if len(given) != len(found):
        msg = f"{len(given)} metadatas for {len(found)} texts; give one for each. Nothing was written."
        raise InvalidDocumentError(msg)
    for n, metadata in enumerate(given):
        if not (metadata is None or isinstance(metadata, dict)):
            msg = f"metadata number {n} must be a dict or None, found {type(metadata).__name__}. Nothing was written."
            raise InvalidArgumentError(msg)
    return [Document(page_content=text, metadata=metadata or {}) for text, metadata in zip(found, given, strict=True)]


def _listed(texts: object) -> list[str]:
    if isinstance(texts, str):
        msg = "texts must be a list of str; wrap one text in a list."
        raise InvalidDocumentError(msg)
    # one document is iterable as well: pydantic goes through its fields
    if isinstance(texts, Document) or not isinstance(texts, Iterable):
        msg = (
            f"texts must be a list of str, found {type(texts).__name__}; for documents use add_documents. Nothing was "
            "written."
        )
        raise InvalidArgumentError(msg)
    found = list(texts)
    for n, text in enumerate(found):
        if not isinstance(text, str):
            msg = (
                f"text number {n} must be a str, found {type(text).__name__}; for documents use add_documents. Nothing "
                "was written."
            )
            raise InvalidArgumentError(msg)
    return found


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
