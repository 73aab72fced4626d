"""Documents cut down to their evidence, within a budget of tokens over all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_core.documents import Document

from colbert_rag import Hit, InvalidArgumentError, Passage, build_context, estimate_tokens
from langchain_colbert_rag.documents import passage_entries, with_evidence

__all__ = ["Found", "check_whole", "shown"]


class Found(NamedTuple):
    """A document that was found.

    Attributes:
        document: Whole.
        relevance: In ``[0, 1]``; None where no MaxSim was computed.
        passages: Its evidence, best first.
    """

    document: Document
    relevance: float | None
    passages: tuple[Passage, ...]


def shown(
    found: Sequence[Found], context_tokens: int | None, count_tokens: Callable[[str], int] | None
) -> list[Document]:
    """New documents with evidence in their metadata, and with a budget of evidence alone.

    Args:
        found: Best first.
        context_tokens: The budget over all documents; None for whole documents.
        count_tokens: None for the estimate of the core.

    Raises:
        InvalidQueryError: the budget is too small for any passage.
        InvalidArgumentError: ``count_tokens`` gives something else than a whole number.
    """
    if context_tokens is None:
        return [with_evidence(*one) for one in found]
    hits = [
        Hit(document.id or str(n), 0.0, document.page_content, {}, passages, extra=n)
        for n, (document, _, passages) in enumerate(found)
    ]
    context = build_context(hits, context_tokens, count_tokens=count_tokens or estimate_tokens)
    excerpts = []
    for excerpt in context.excerpts:
        document, relevance, _ = found[excerpt.hit.extra]
        marked = with_evidence(document, relevance, excerpt.passages)
        left_out: dict[str, Any] = {"passages_left_out": passage_entries(excerpt.left_out)}
        changes = {"page_content": excerpt.text, "metadata": marked.metadata | left_out}
        excerpts.append(marked.model_copy(update=changes))
    return excerpts


def check_whole(documents: Iterable[Document]) -> None:
    """Refuse documents that :func:`shown` has cut to their evidence: offsets in what is left would mean nothing.

    Raises:
        InvalidArgumentError: naming the first of them.
    """
    for n, document in enumerate(documents):
        if _is_cut(document):
            msg = (
                f"document {document.id or n!r} has been cut to its evidence already, so passages of what is left "
                "would have no place in the whole text. Give context_tokens to the reranker, and none to the retriever."
            )
            raise InvalidArgumentError(msg)


def _is_cut(document: Document) -> bool:
    entries = document.metadata.get("passages")
    if "passages_left_out" not in document.metadata or not isinstance(entries, list):
        return False
    return any(_is_elsewhere(entry, document.page_content) for entry in entries)


def _is_elsewhere(entry: object, text: str) -> bool:
    if not isinstance(entry, Mapping):
        return False
    start, end = entry.get("start"), entry.get("end")
    return isinstance(start, int) and isinstance(end, int) and text[start:end] != entry.get("text")
